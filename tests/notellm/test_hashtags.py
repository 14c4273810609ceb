import math
import re

import pytest
import regex
from hypothesis import given, strategies as st

from notellm.hashtags import GeneratedPiece, choice_pattern, clean_hashtag_list, hashtag_list_pattern
from notellm.note import hashtag_key


def cleaned(text: str, count: int = 5, exclude: tuple[str, ...] = (), *, finished: bool = True) -> list[str]:
    pieces = [GeneratedPiece(text, 0.5)]
    return [s.hashtag for s in clean_hashtag_list(pieces, count=count, exclude=exclude, finished=finished)]


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        (" cold brew, coffee, grind size", ["cold brew", "coffee", "grind size"]),
        (' "cold brew", "coffee", "coffee"', ["cold brew", "coffee"]),
        ("1. Cold brew 2. Coffee 3) grind", ["Cold brew", "Coffee", "grind"]),
        ("#cold-brew #coffee", ["cold-brew", "coffee"]),
        ("冷萃咖啡，咖啡、旅行；咖啡", ["冷萃咖啡", "咖啡", "旅行"]),
        (" - coffee - tea", ["coffee", "tea"]),
        (" coffee, and tea, or the milk", ["coffee", "tea", "milk"]),
        (" scale drawing with a, ratio of", ["scale drawing", "ratio"]),
        (" C++, C#, node.js, web3", ["C++", "C#", "node.js", "web3"]),
        (" King Glory, kingglory, king-glory", ["King Glory"]),
        (" 1, 2, 2024, 3.5", []),
        (" topics, category, 话题, compression word's", []),
        (" A, B", []),
        (" this is a whole sentence about coffee", []),
        (" " + "x" * 41, []),
        ("", []),
        (" ,,, ", []),
        (" 🎉, beer 🍺", ["🎉", "beer 🍺"]),
    ],
)
def test_a_list_is_cleaned(text: str, tags: list[str]) -> None:
    assert cleaned(text) == tags


def test_the_notes_own_hashtags_are_left_out() -> None:
    assert cleaned(" cold brew, coffee", exclude=("#ColdBrew",)) == ["coffee"]


def test_no_more_than_asked_for() -> None:
    assert cleaned(" a1, b2, c3", count=2) == ["a1", "b2"]


def test_a_list_that_was_cut_off_loses_its_last_item() -> None:
    assert cleaned(" coffee, espres", finished=False) == ["coffee"]
    assert cleaned(" espres", finished=False) == ["espres"]


def test_confidence_is_the_geometric_mean_of_the_hashtags_tokens() -> None:
    pieces = [
        GeneratedPiece(" cold", 0.9),
        GeneratedPiece(" brew", 0.4),
        GeneratedPiece(",", 0.01),
        GeneratedPiece(" tea", 0.25),
    ]
    first, second = clean_hashtag_list([*pieces, GeneratedPiece("", 0.1)], count=5)
    assert first.confidence == pytest.approx(math.sqrt(0.9 * 0.4))
    assert second.confidence == pytest.approx(0.25)


@given(st.text(max_size=200), st.integers(1, 10))
def test_whatever_is_generated_the_list_is_clean(text: str, count: int) -> None:
    tags = cleaned(text, count)
    assert len(tags) <= count
    assert len({hashtag_key(tag) for tag in tags}) == len(tags)
    for tag in tags:
        assert tag == tag.strip()
        assert len(tag) <= 40
        assert not re.search(r"[,\n]", tag)
        assert cleaned(tag) == [tag]


@pytest.mark.parametrize("text", [" coffee", " cold brew, coffee", ' "cold brew", "tea"', " 咖啡, web3"])
def test_the_pattern_of_a_list_admits_lists(text: str) -> None:
    assert regex.fullmatch(hashtag_list_pattern(5, lead=" ", separator=", "), text)


@pytest.mark.parametrize(
    "text", ["coffee", " 1. coffee", " coffee\n", " a, b, c, d, e, f", " What is this?", " one two three four five", ""]
)
def test_the_pattern_of_a_list_admits_nothing_else(text: str) -> None:
    assert not regex.fullmatch(hashtag_list_pattern(5, lead=" ", separator=", "), text)


def test_the_pattern_of_choices_takes_them_literally() -> None:
    pattern = choice_pattern(["a.b", "c (d)", "e|f"], lead=" ")
    assert all(regex.fullmatch(pattern, text) for text in (" a.b", " c (d)", " e|f"))
    assert not any(regex.fullmatch(pattern, text) for text in (" axb", " e", "a.b"))
