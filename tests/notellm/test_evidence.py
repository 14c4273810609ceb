"""Hashtags of the model and of stored notes, weighed against each other."""

import math

import pytest
from pydantic import ValidationError

from notellm.evidence import (
    FEATURES,
    MOST_FOUND,
    MOST_VOTED,
    NEIGHBOURS,
    Candidate,
    Evidence,
    EvidenceWeights,
    NeighbourNote,
    votes,
)
from notellm.hashtag_use import HashtagUse
from notellm.hashtags import HashtagSuggestion

USE = HashtagUse.of_spellings({"cold-brew": 8, "Beer": 90, "foam": 1, "咖啡": 3}, notes=98)
WEIGHTS = EvidenceWeights(temperature=0.1, intercept=0.0, weights=(1.0, 0.5, 1.0, 2.0, -0.5, 1.5))


def near(similarity: float, *keys: str, text: str | None = None) -> NeighbourNote:
    return NeighbourNote(similarity, text or f"{similarity} {keys}", keys)


def features(evidence: Evidence, temperature: float = 0.1) -> dict[str, dict[str, float]]:
    """The features of each candidate by their names."""
    found = evidence.candidates(USE, USE.spelled.get, temperature)
    return {one.hashtag: dict(zip(FEATURES, one.features, strict=True)) for one in found}


def test_nearer_neighbours_have_more_weight() -> None:
    shares = votes([near(0.9, "beer"), near(0.8, "foam")], temperature=0.1)
    assert shares["beer"] / shares["foam"] == pytest.approx(math.e)
    assert sum(shares.values()) == pytest.approx(1)


def test_reposts_have_one_vote_together() -> None:
    reposts = [near(0.9, "spam", text="Buy  MY pills"), near(0.9, "spam", "pills", text="buy my pills")] * 10
    shares = votes([*reposts, near(0.9, "beer", "beer")], temperature=0.1)
    assert shares == pytest.approx({"spam": 0.5, "pills": 0.25, "beer": 0.5})


def test_no_neighbours_have_no_votes() -> None:
    assert votes([], temperature=0.1) == {}


def test_features_of_what_both_bring_and_of_what_one_brings() -> None:
    found = [HashtagSuggestion("Cold Brew", 0.5), HashtagSuggestion("foam", 0.25)]
    told = features(Evidence("Cold brews", found, [near(0.9, "coldbrew", "beer"), near(0.9, "beer")]))
    assert set(told) == {"cold-brew", "foam", "Beer"}
    brew, foam, beer = told["cold-brew"], told["foam"], told["Beer"]
    assert (brew["likelihood"], foam["likelihood"], beer["likelihood"]) == (math.log(0.5), math.log(0.25), math.log(0.25))
    assert (brew["found"], foam["found"], beer["found"]) == (1, 1, 0)
    assert (brew["share"], foam["share"], beer["share"]) == (0.5, 0, 1)
    assert foam["vote"] < brew["vote"] < beer["vote"]
    assert (brew["rate"], beer["rate"]) == (math.log(9 / 100), math.log(91 / 100))
    assert (brew["words"], foam["words"], beer["words"]) == (1, 0, 0)


def test_sources_say_who_brings_a_hashtag() -> None:
    found = [HashtagSuggestion("cold-brew", 0.5), HashtagSuggestion("foam", 0.25)]
    told = Evidence("x", found, [near(0.9, "coldbrew", "beer")]).candidates(USE, USE.spelled.get, 0.1)
    assert {one.hashtag: one.sources for one in told} == {
        "cold-brew": ("model", "neighbours"), "foam": ("model",), "Beer": ("neighbours",),
    }  # fmt: skip


def test_what_must_not_be_suggested_is_no_candidate() -> None:
    evidence = Evidence("x", [HashtagSuggestion("foam", 0.5)], [near(0.9, "unheard-of", "beer")])
    assert [one.hashtag for one in evidence.candidates(USE, {"beer": "Beer"}.get, 0.1)] == ["Beer"]


def test_as_many_candidates_as_are_weighed_whatever_neighbours_have() -> None:
    keys = [f"tag{number}" for number in range(50_000)]
    spelled = {key: key for key in keys}
    found = [HashtagSuggestion(f"found{number}", 0.5) for number in range(MOST_FOUND)]
    spelled |= {one.hashtag: one.hashtag for one in found}
    evidence = Evidence("x " * 100_000, found, [near(0.9, *keys)] + [near(0.1, "late")] * NEIGHBOURS)
    told = evidence.candidates(USE, spelled.get, 0.1)
    assert len(told) == MOST_FOUND + MOST_VOTED
    assert "late" not in {one.hashtag for one in told}


def test_probabilities_are_those_of_a_logistic_regression() -> None:
    values = (-1.0, 1.0, -2.0, 0.25, -3.0, 1.0)
    odds = -1.0 + 0.5 - 2.0 + 0.5 + 1.5 + 1.5
    assert WEIGHTS.probability(Candidate("x", ("model",), values)) == pytest.approx(1 / (1 + math.exp(-odds)))
    assert WEIGHTS.probability(Candidate("x", ("model",), (-1e9,) * 6)) == 0
    assert WEIGHTS.probability(Candidate("x", ("model",), (1e9, 1, 1, 1, 1, 1))) == 1


def test_the_most_probable_come_first_and_equal_ones_in_alphabetical_order() -> None:
    likely, unlikely = (0.0,) * 6, (-5.0,) + (0.0,) * 5
    told = [Candidate("c", ("model",), unlikely), Candidate("b", ("neighbours",), likely), Candidate("a", ("model",), likely)]
    assert [(one.hashtag, one.sources) for one in WEIGHTS.suggestions(told, 2)] == [("a", ("model",)), ("b", ("neighbours",))]


@pytest.mark.parametrize(
    "broken",
    [
        {"temperature": 0},
        {"intercept": math.nan},
        {"weights": (1, 2, 3)},
        {"weights": (1, 2, 3, 4, 5, math.inf)},
        {"more": 1},
    ],
)
def test_weights_that_cannot_be_used_are_refused(broken: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        EvidenceWeights.model_validate(WEIGHTS.model_dump() | broken)


def test_all_that_the_model_was_asked_for_are_candidates() -> None:
    """A client may want more than `MOST_FOUND`."""
    found = [HashtagSuggestion(f"found{number}", 0.5) for number in range(MOST_FOUND + 2)]
    spelled = {one.hashtag: one.hashtag for one in found}
    assert len(Evidence("x", found, [near(0.9, "found0")]).candidates(USE, spelled.get, 0.1)) == MOST_FOUND + 2
