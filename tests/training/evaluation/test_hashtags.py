import pytest

from notellm import Note
from training.evaluation.hashtags import score_hashtags
from training.evaluation.tag_baselines import MostFrequentTags, NeighbourTags


def test_identical_lists_are_perfect() -> None:
    tags = [("cold brew", "coffee", "grinder"), ("beer",), ("量子", "qubit")]
    scores = score_hashtags(tags, tags)
    assert scores.bleu == pytest.approx(100)
    for name in ("precision@1", "precision@3", "recall@3", "f1@3", "rouge-1", "rouge-L"):
        assert scores.metrics[name] == [1, 1, 1], name
    assert scores.metrics["rouge-2"] == [1, 0, 1]  # one word has no pair of words


def test_counts_by_hand() -> None:
    scores = score_hashtags([("Cold Brew", "tea", "beans"), (), ("x",)], [("coldbrew", "coffee"), ("tea",), ("y",)])
    assert scores.metrics["precision@1"] == [1, 0, 0]
    assert scores.metrics["precision@3"] == pytest.approx([1 / 3, 0, 0], abs=1e-6)
    assert scores.metrics["recall@1"] == [0.5, 0, 0]
    assert scores.metrics["recall@3"] == [0.5, 0, 0]
    assert scores.metrics["f1@3"] == pytest.approx([0.4, 0, 0])


def test_rouge_is_that_of_its_definition() -> None:
    """Words `cold brew, coffee` against `cold coffee`: two of two found, two of three."""
    scores = score_hashtags([("cold", "coffee")], [("cold brew", "coffee")])
    assert scores.metrics["rouge-1"] == pytest.approx([2 * (2 / 2) * (2 / 3) / (2 / 2 + 2 / 3)])
    assert scores.metrics["rouge-2"] == [0]
    assert scores.metrics["rouge-L"] == scores.metrics["rouge-1"]
    turned = score_hashtags([("coffee", "cold")], [("cold brew", "coffee")])
    assert turned.metrics["rouge-1"] == scores.metrics["rouge-1"]
    assert turned.metrics["rouge-L"] == pytest.approx([2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3)])


def test_scripts_without_spaces_count() -> None:
    assert score_hashtags([("咖啡",)], [("咖啡", "旅行")]).metrics["rouge-1"] == pytest.approx([2 / 3], abs=1e-6)


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
