import numpy as np
import pytest

from notellm import Note
from training.evaluation.pool import TestPool
from training.evaluation.told import Popularity, RandomWithinCategory
from training.ranking import target_ranks

SIZE = 60
NOTES = tuple(Note(id=f"{index:02}", title=f"note {index}", category="abc"[index % 3]) for index in range(SIZE))
EVERYONE = np.arange(SIZE)
POOL = TestPool(NOTES, EVERYONE, (EVERYONE + 3) % SIZE, EVERYONE // 2, (), "data")


def test_popular_notes_come_first_for_everyone() -> None:
    scores = Popularity(POOL).scores(np.array([4, 9]))
    assert scores.dtype == np.float32
    assert (scores[0] == scores[1]).all()
    assert (np.argsort(-scores[0], kind="stable")[:4] == [58, 59, 56, 57]).all()
    assert scores[0, 58] == scores[0, 59]


def test_large_counts_are_told_apart() -> None:
    counts = np.array([2**24, 2**24 + 1, *[0] * (SIZE - 2)])
    scores = Popularity(TestPool(NOTES, EVERYONE, EVERYONE, counts, (), "data")).scores(np.array([5]))[0]
    assert scores[1] > scores[0] > scores[2]


def test_the_category_comes_first_in_random_order() -> None:
    method = RandomWithinCategory(POOL)
    ranks = target_ranks(method, POOL.sources, POOL.targets)
    others = SIZE // 3 - 1
    assert ranks.max() <= others
    assert ranks.mean() == pytest.approx((others + 1) / 2, abs=2.5)
    assert (method.scores(np.array([7])) == method.scores(np.array([3, 7]))[1]).all()
