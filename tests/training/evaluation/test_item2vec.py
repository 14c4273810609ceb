from collections.abc import Callable

import numpy as np

from training.config import TrainingConfig
from training.data import load_dataset
from training.evaluation.item2vec import measure_item2vec
from training.evaluation.pool import TestPool


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
