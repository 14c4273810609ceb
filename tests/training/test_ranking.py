import numpy as np
import pytest
from hypothesis import given, strategies as st

from training.errors import EvaluationError
from training.ranking import Indices, Ranks, Scores, Vectors, recall, recall_error, reciprocal_rank, target_ranks


class Table:
    """A retriever that knows all scores."""

    name = "table"

    def __init__(self, table: Scores) -> None:
        self.table = table
        self.asked: list[int] = []

    def scores(self, queries: Indices) -> Scores:
        self.asked += queries.tolist()
        return self.table[queries]


def brute_force_rank(row: list[float], source: int, target: int) -> float:
    others = [score for note, score in enumerate(row) if note not in {source, target}]
    return 1 + sum(score > row[target] for score in others) + sum(score == row[target] for score in others) / 2


@given(st.data())
def test_ranks_equal_a_count_by_hand(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 7))
    # Few different values, so that ties are common.
    row = st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=size, max_size=size)
    table = np.array(data.draw(st.lists(row, min_size=size, max_size=size)), dtype=np.float32)
    everyone = [(source, target) for source in range(size) for target in range(size) if source != target]
    pairs = data.draw(st.lists(st.sampled_from(everyone), min_size=1))
    sources, targets = np.array(pairs).T
    ranks = target_ranks(Table(table), sources, targets, at_a_time=data.draw(st.integers(1, 4)))
    assert ranks.tolist() == [brute_force_rank(table[source].tolist(), source, target) for source, target in pairs]


def test_scores_are_asked_for_once_per_asking_note() -> None:
    table = Table(np.eye(4, dtype=np.float32))
    target_ranks(table, np.array([3, 1, 3, 1]), np.array([0, 0, 1, 2]), at_a_time=1)
    assert table.asked == [1, 3]


def test_only_the_asking_note_is_left_out() -> None:
    # Note 0 is nearest to itself, then to 1, which asks as well; 2 is third for 0.
    vectors = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1]], dtype=np.float32)
    ranks = target_ranks(Vectors("plane", vectors), np.array([0, 1]), np.array([2, 2]))
    assert ranks.tolist() == [2, 1]


def test_a_method_that_tells_nothing_apart_ranks_as_chance() -> None:
    ranks = target_ranks(Table(np.zeros((11, 11), dtype=np.float32)), np.array([0]), np.array([7]))
    assert ranks.tolist() == [5.5]


def test_recall_and_reciprocal_rank() -> None:
    ranks = np.array([1.0, 2.0, 10.5, 4.0])
    assert [recall(ranks, k) for k in (1, 2, 10, 11)] == [0.25, 0.5, 0.75, 1.0]
    assert reciprocal_rank(ranks) == pytest.approx((1 + 1 / 2 + 1 / 10.5 + 1 / 4) / 4)


def test_with_one_pair_per_asking_note_the_error_is_that_of_a_share() -> None:
    ranks = np.array([1.0, 9, 1, 9, 9])
    assert recall_error(ranks, np.arange(5), 3) == pytest.approx(np.std([1, 0, 1, 0, 0], ddof=1) / 5**0.5)


def test_the_error_counts_asking_notes_not_pairs() -> None:
    """Each asking note's pairs are found all or none: more pairs per note tell nothing more."""
    once, sources = np.array([1.0, 9, 1, 9, 9]), np.arange(5)
    assert recall_error(once.repeat(4), sources.repeat(4), 3) == pytest.approx(recall_error(once, sources, 3))


def test_the_error_is_how_much_recall_differs_between_samples_of_asking_notes() -> None:
    draw = np.random.default_rng(0)

    def sample() -> tuple[Indices, Ranks]:
        sources = np.repeat(np.arange(200), draw.integers(1, 6, 200))
        easy = draw.random(200)
        return sources, np.where(draw.random(len(sources)) < easy[sources], 1.0, 9.0)

    samples = [sample() for _ in range(300)]
    spread = np.std([recall(ranks, 3) for _, ranks in samples])
    assert np.mean([recall_error(ranks, sources, 3) for sources, ranks in samples]) == pytest.approx(spread, rel=0.15)


def test_one_asking_note_has_no_error() -> None:
    assert np.isnan(recall_error(np.array([1.0, 2.0]), np.array([7, 7]), 1))


def test_only_allowed_notes_are_ranked() -> None:
    table = np.array([[0, 5, 4, 3, 2], [5, 0, 4, 3, 2]], dtype=np.float32)
    odd = np.array([0, 1, 0, 1, 0])
    allowed = lambda queries: odd[queries][:, None] == odd[None]  # noqa: E731
    assert target_ranks(Table(table), np.array([0, 1]), np.array([4, 3]), allowed=allowed).tolist() == [2, 1]
    with pytest.raises(EvaluationError, match="a target is not among the notes that are ranked"):
        target_ranks(Table(table), np.array([0]), np.array([1]), allowed=allowed)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_broken_vectors_are_refused_rather_than_ranked_first(broken: float) -> None:
    vectors = np.array([[1, 0], [broken, 0], [0, 1]], dtype=np.float32)
    with pytest.raises(EvaluationError, match="not finite numbers"), np.errstate(invalid="ignore"):
        target_ranks(Vectors("x", vectors), np.array([0]), np.array([2]))


def test_a_note_is_not_its_own_target() -> None:
    with pytest.raises(EvaluationError, match="paired with itself"):
        target_ranks(Vectors("x", np.eye(3, dtype=np.float32)), np.array([0, 1]), np.array([1, 1]))
