"""Hashtags without a language model."""

import pytest

from notellm import Note
from training.errors import EvaluationError
from training.evaluation.tag_baselines import MostFrequentTags, NeighbourTags, WeighedTags, WordsInText
from training.waves import Wave

TRAINING = [
    Note(id="1", title="cold brew at home", hashtags=("cold brew", "coffee"), category="coffee"),
    Note(id="2", title="espresso grinder", hashtags=("coffee", "grinder"), category="coffee"),
    Note(id="3", title="hops and malt", hashtags=("hops",), category="beer"),
]


def test_most_frequent_tags_are_those_of_the_category() -> None:
    method = MostFrequentTags(TRAINING)
    asked = [Note(id="a", title="x", category="coffee"), Note(id="b", title="x"), Note(id="c", title="x", category="new")]
    assert method.predict(asked, 2) == [["coffee", "cold brew"], ["coffee", "cold brew"], ["coffee", "cold brew"]]
    assert method.predict([Note(id="d", title="x", category="beer")], 2) == [["hops"]]


def test_neighbours_give_their_tags_by_similarity() -> None:
    method = NeighbourTags(TRAINING, neighbours=1)
    asked = [Note(id="a", title="malt for a lager"), Note(id="b", title="a new grinder", hashtags=("hops", "malt"))]
    assert method.predict(asked, 3) == [["hops"], ["coffee", "grinder"]]  # what it is tagged with is not looked at


def test_words_in_the_text_first_whole_hashtags_then_frequent_ones() -> None:
    method = WordsInText(TRAINING)
    asked = [
        Note(id="a", title="coffee: cold or warm", hashtags=("hops",)),
        Note(id="b", title="a cold brew of coffee"),
        Note(id="c", title="x"),
    ]
    assert method.predict(asked, 3) == [["coffee", "cold brew"], ["coffee", "cold brew"], []]
    assert method.predict([Note(id="d", title="cold hops")], 3) == [["hops", "cold brew"]]


def test_weighed_tags_learn_what_tells() -> None:
    tags = ("hops", "malt", "yeast", "foam")
    notes = [
        Note(id=str(number), title=f"about {tags[number % 4]} {number}", hashtags=(tags[number % 4],)) for number in range(80)
    ]
    method = WeighedTags(notes[:40], WeighedTags.fit(notes[:40], [Wave(tuple(notes[40:]), ())]))
    asked = [Note(id="a", title="more about malt", hashtags=("hops",)), Note(id="b", title="more about foam")]
    assert method.predict(asked, 1) == [["malt"], ["foam"]]


def test_weighed_tags_need_validation_notes() -> None:
    with pytest.raises(EvaluationError, match=r"raise data\.split\.validation"):
        WeighedTags.fit(TRAINING, [Wave(tuple(TRAINING), ())])
