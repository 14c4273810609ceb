"""Methods that are told what no new note's text says: its interactions, or its category. They show how far that alone goes."""

import numpy as np

from training.evaluation.pool import TestPool
from training.ranking import Indices, Scores


class Popularity:
    """The same order for every asking note: the most interactions in the whole log first.

    Args:
        pool: the pool.
    """

    name = "popularity"

    def __init__(self, pool: TestPool) -> None:
        # Ranks rather than counts, because float32 cannot tell apart counts above 2^24.
        _, self._scores = np.unique(pool.exposure, return_inverse=True)

    def scores(self, queries: Indices) -> Scores:
        """(queries, pool)."""
        return np.tile(self._scores.astype(np.float32), (len(queries), 1))


class RandomWithinCategory:
    """First the notes of the asking note's category, in a random order, then all others, in a random order.

    Args:
        pool: the pool. Notes without a category form one of their own.
        seed: seed of the orders.
    """

    name = "random-within-category"

    def __init__(self, pool: TestPool, seed: int = 0) -> None:
        self._pool, self._seed = pool, seed

    def scores(self, queries: Indices) -> Scores:
        """(queries, pool). A note's order does not depend on which other notes ask."""
        noise = np.stack([np.random.default_rng([self._seed, int(query)]).random(len(self._pool.notes)) for query in queries])
        scores: Scores = (self._pool.same_category(queries) + noise / 2).astype(np.float32)
        return scores
