import numpy as np
import pytest

from training.data import Cooccurrences, ItemVectors


def test_notes_with_the_same_neighbours_are_alike() -> None:
    """Two groups of four notes that are visited together, and a note that nobody visits with another."""
    pairs = [(a, b) for group in (range(4), range(4, 8)) for a in group for b in group if a < b]
    first, second = np.array([*pairs, (3, 4)]).T
    scores = np.array([*[1.0] * len(pairs), 0.01])
    items = ItemVectors.of(Cooccurrences(tuple("abcdefghi"), first, second, scores), 2)
    assert list(items.row) == list("abcdefgh")
    assert np.linalg.norm(items.vectors, axis=1) == pytest.approx(1, abs=1e-5)
    cosines = items.cosines("abcdefgh", "abcdefgh")
    assert cosines[:4, :4].min() > cosines[:4, 4:].max() + 0.5
    assert items.cosines("a", "be") == pytest.approx(items.vectors[:1] @ items.vectors[[1, 4]].T)


def test_notes_without_behaviour_are_not_known() -> None:
    items = ItemVectors.of(Cooccurrences(tuple("abc"), np.array([0]), np.array([1]), np.array([1.0])), 5)
    assert np.isnan(items.cosines("abc", "abc?")).tolist() == [[False, False, True, True]] * 2 + [[True] * 4]
