from collections.abc import Callable

import numpy as np
import pytest

from training.config import TrainingConfig
from training.data import Cooccurrences, load_dataset
from training.evaluation.item2vec import measure_item2vec, vectors_of
from training.evaluation.pool import TestPool


def test_notes_with_the_same_neighbours_are_alike() -> None:
    """Two groups of four notes that are visited together, and a note that nobody visits with another."""
    pairs = [(a, b) for group in (range(4), range(4, 8)) for a in group for b in group if a < b]
    first, second = np.array([*pairs, (3, 4)]).T
    scores = np.array([*[1.0] * len(pairs), 0.01])
    rows, vectors = vectors_of(Cooccurrences(tuple("abcdefghi"), first, second, scores), 2)
    assert list(rows) == list("abcdefgh")
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    cosines = vectors @ vectors.T
    assert cosines[:4, :4].min() > cosines[:4, 4:].max() + 0.5


def test_the_other_half_of_the_users_asks(run_config: Callable[..., TrainingConfig]) -> None:
    """On the small platform each user reads about one topic of twenty notes: behaviour tells the topic."""
    settings = run_config()
    dataset = load_dataset(settings.data)
    pool = TestPool.of(dataset)
    measured = measure_item2vec(settings.data, dataset, pool, 8)
    assert measured.pool == pool.fingerprint
    assert measured.ranks is None
    assert measured.own_pool is not None
    assert measured.own_pool.notes <= len(pool.notes)
    assert np.mean(measured.own_pool.ranks) < measured.own_pool.notes / 4
    assert "not available to a new note" in measured.about


def test_without_pairs_it_says_so(run_config: Callable[..., TrainingConfig]) -> None:
    settings = run_config()
    dataset = load_dataset(settings.data)
    pool = TestPool.of(dataset)
    few = settings.data.model_copy(update={"pairs": settings.data.pairs.model_copy(update={"min_users": 10_000})})
    measured = measure_item2vec(few, dataset, pool, 8)
    assert measured.own_pool is None
    assert "which has no related pair" in measured.about
