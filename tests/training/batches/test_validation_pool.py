import numpy as np
import pytest

from training.batches import ValidationPool
from training.data import Pair

PAIRS = [Pair("a", "c", 3.0), Pair("b", "c", 2.0), Pair("d", "e", 1.0)]


def test_the_pool_holds_the_best_pairs_and_then_other_notes() -> None:
    pool = ValidationPool.of(PAIRS, ["a", "x", "y", "z"], 5)
    assert pool is not None
    assert pool.notes == ("a", "c", "b", "d", "e")
    assert [(pool.notes[source], pool.notes[target]) for source, target in zip(pool.sources, pool.targets, strict=True)] == [
        ("a", "c"),
        ("b", "c"),
        ("d", "e"),
    ]


def test_a_pair_that_does_not_fit_leaves_its_room_to_other_notes() -> None:
    pool = ValidationPool.of(PAIRS, ["a", "x", "y", "z"], 4)
    assert pool is not None
    assert pool.notes == ("a", "c", "b", "x")


def test_without_a_pair_that_fits_there_is_no_pool() -> None:
    assert ValidationPool.of(PAIRS, ["x"], 1) is None
    assert ValidationPool.of([], ["x"], 10) is None


def test_recall_is_over_the_whole_pool() -> None:
    pool = ValidationPool(("a", "b", "c", "d"), np.array([0, 1]), np.array([2, 2]))
    vectors = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1]], dtype=np.float32)
    assert pool.recall("x", vectors, k=1) == 0.5
    assert pool.recall("x", vectors, k=2) == 1.0
    assert pool.measure("x", vectors, k=1) == (0.5, 0.5)
    assert pool.measure("x", vectors, k=2) == (1.0, 0.0)


def test_each_note_of_a_pair_may_ask_for_the_other() -> None:
    pool = ValidationPool.of(PAIRS, [], 3, both_ways=True)
    assert pool is not None
    asked = [(pool.notes[source], pool.notes[target]) for source, target in zip(pool.sources, pool.targets, strict=True)]
    assert asked == [("a", "c"), ("b", "c"), ("c", "a"), ("c", "b")]


@pytest.mark.parametrize(("notes", "cut"), [(5, 1), (30, 3), (129, 12), (479, 12), (1326, 33), (5000, 100), (100_000, 100)])
def test_settings_are_chosen_at_a_fortieth_of_the_pool(notes: int, cut: int) -> None:
    nobody = np.array([], np.int64)
    assert ValidationPool(tuple(map(str, range(notes))), nobody, nobody).cut == cut
