"""Ranks of related notes over the full pool, the only thing that recall and MRR depend on."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from training.errors import EvaluationError

Scores = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
Ranks = npt.NDArray[np.float64]


class Retriever(Protocol):
    """Scores every note of a pool for some asking notes of the same pool."""

    name: str

    def scores(self, queries: Indices) -> Scores:
        """(queries, pool) in memory of the caller's own, higher is nearer."""
        ...


def target_ranks(retriever: Retriever, sources: Indices, targets: Indices, *, at_a_time: int = 256) -> Ranks:
    """The rank of each target among all notes of the pool but the one that asks, counted from 1.

    A rank is 1 + the number of notes that score higher + half the number of other notes that score the same (mid-rank), so that
    a method that cannot tell notes apart ranks them as chance would. Scores are compared in float32.

    Args:
        retriever: scores a pool.
        sources: (pairs,), positions of the asking notes in the pool.
        targets: (pairs,), positions of the notes to be found.
        at_a_time: asking notes whose scores are in memory together: 4 bytes times this times the pool.

    Raises:
        EvaluationError: a note is its own target, or a score is not a number.
    """
    if (sources == targets).any():
        raise EvaluationError("a note is paired with itself: leave such pairs out")
    ranks = np.empty(len(sources))
    for queries, pairs_of in _by_source(sources, at_a_time):
        scores = retriever.scores(queries).astype(np.float32, copy=False)
        if not np.isfinite(scores).all():
            raise EvaluationError(f"{retriever.name} gives scores that are no finite numbers: its vectors are broken")
        scores[np.arange(len(queries)), queries] = -np.inf
        for row, pairs in zip(scores, pairs_of, strict=True):
            wanted = row[targets[pairs]][:, None]
            ranks[pairs] = 1 + (row > wanted).sum(axis=1) + ((row == wanted).sum(axis=1) - 1) / 2
    return ranks


def recall(ranks: Ranks, k: int) -> float:
    """Share of the pairs whose target is among the first k."""
    return float((ranks <= k).mean())


def reciprocal_rank(ranks: Ranks) -> float:
    """MRR: the mean of 1 / rank over pairs."""
    return float((1 / ranks).mean())


class Vectors:
    """Retrieval by the inner product of unit vectors.

    Args:
        name: of the method.
        vectors: (pool, dimensions), unit length.
    """

    def __init__(self, name: str, vectors: Scores) -> None:
        self.name = name
        self.vectors = vectors.astype(np.float32, copy=False)

    def scores(self, queries: Indices) -> Scores:
        """Cosines, (queries, pool)."""
        cosines: Scores = self.vectors[queries] @ self.vectors.T
        return cosines


def _by_source(sources: Indices, at_a_time: int) -> Iterator[tuple[Indices, list[Indices]]]:
    """Sorted asking notes, so many at a time, and the positions of each one's pairs."""
    order = np.argsort(sources, kind="stable")
    unique, starts = np.unique(sources[order], return_index=True)
    groups = np.split(order, starts[1:])
    for start in range(0, len(unique), at_a_time):
        yield unique[start : start + at_a_time], groups[start : start + at_a_time]
