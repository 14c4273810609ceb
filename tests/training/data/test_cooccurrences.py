"""Co-occurrences against related pairs without thresholds, whose directions are added."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from tests.training.data.test_pairs import EVERYTHING, Event, events, log
from training.data.cooccurrences import Cooccurrences, CooccurrenceSettings
from training.data.pairs import PairSettings, related_pairs

ALL = CooccurrenceSettings(per_note=None)
NOTES = "edcba"


def cooccurring(log_events: list[Event], kept: CooccurrenceSettings = ALL, **thresholds: Any) -> Cooccurrences:
    with log(log_events) as connection:
        related_pairs(connection, NOTES, PairSettings.model_validate(EVERYTHING | thresholds))
        return Cooccurrences.read(connection, NOTES, kept)


def by_note(found: Cooccurrences) -> dict[tuple[str, str], float]:
    return {
        (found.notes[one], found.notes[other]): score
        for one, other, score in zip(found.first.tolist(), found.second.tolist(), found.score.tolist(), strict=True)
    }


@settings(max_examples=60, deadline=None)
@given(events)
def test_they_are_the_pairs_of_both_directions(log_events: list[Event]) -> None:
    expected: Counter[tuple[str, str]] = Counter()
    with log(log_events) as connection:
        for pair in related_pairs(connection, NOTES, PairSettings.model_validate(EVERYTHING)):
            expected[min(pair.source, pair.target), max(pair.source, pair.target)] += pair.score  # type: ignore[assignment]
        found = Cooccurrences.read(connection, NOTES, ALL)
    assert found.notes == tuple("abcde")
    assert by_note(found) == pytest.approx(expected)
    dense = found.among(NOTES)
    assert np.array_equal(dense, dense.T)
    for row, one in enumerate(NOTES):
        for column, other in enumerate(NOTES):
            assert dense[row, column] == pytest.approx(expected[min(one, other), max(one, other)])


HUB: list[Event] = [
    *((f"u{other}", note, None, at) for other in "bcd" for at, note in enumerate(("a", other))),
    *((f"v{at}", note, None, at) for at, note in ((0, "b"), (1, "c"))),
    *(("w", note, None, at) for at, note in enumerate("dee")),
    *(("x", note, None, at) for at, note in enumerate("de")),
]


def test_thresholds_of_the_pairs_do_not_count() -> None:
    assert cooccurring(HUB, min_users=2, per_note=1, min_score=0.9).score.tolist() == cooccurring(HUB).score.tolist()


def test_a_cooccurrence_stays_if_it_is_among_the_best_of_one_of_its_notes() -> None:
    every = by_note(cooccurring(HUB))
    assert every == {("a", "b"): 0.5, ("a", "c"): 0.5, ("a", "d"): 0.5, ("d", "e"): 1.0}
    # d has a better one than that with a, and a has equally good ones before it.
    best = by_note(cooccurring(HUB, CooccurrenceSettings(per_note=1)))
    assert best == {("a", "b"): 0.5, ("a", "c"): 0.5, ("d", "e"): 1.0}


def test_a_log_without_any() -> None:
    found = cooccurring([("u", "a", None, 1.0)])
    assert len(found) == 0
    assert not found.among("ab").any()
