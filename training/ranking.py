"""Ranks of related notes over the full pool. Recall and MRR depend only on these ranks."""

import math
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from training.errors import EvaluationError

Scores = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
Ranks = npt.NDArray[np.float64]
# For query notes, (queries,), which notes of the pool are ranked, (queries, pool).
Allowed = Callable[[Indices], npt.NDArray[np.bool_]]


class Retriever(Protocol):
    """Scores every note of a pool for some query notes of the same pool."""

    name: str

    def scores(self, queries: Indices) -> Scores:
        """(queries, pool), a higher score is nearer. The caller may overwrite the array."""
        ...


def target_ranks(
    retriever: Retriever, sources: Indices, targets: Indices, *, at_a_time: int = 256, allowed: Allowed | None = None
) -> Ranks:
    """The rank of each target among all notes of the pool except the query note, counted from 1.

    A rank is 1 + the number of notes with a higher score + half the number of other notes with the same score (mid-rank), so that a
    method that cannot distinguish notes gets the ranks of chance. Scores are compared in float32.

    Args:
        retriever: scores the pool.
        sources: (pairs,), positions of the query notes in the pool.
        targets: (pairs,), positions of the notes to find.
        at_a_time: number of query notes whose scores are in memory at the same time: 4 bytes × at_a_time × pool size.
        allowed: ranks only some notes for each query note; by default all. Each target must be among them.

    Raises:
        EvaluationError: a note is its own target, a target is not ranked, or a score is not a finite number.
    """
    if (sources == targets).any():
        raise EvaluationError("a note is paired with itself: remove such pairs")
    ranks = np.empty(len(sources))
    for queries, pairs_of in _by_source(sources, at_a_time):
        scores = retriever.scores(queries).astype(np.float32, copy=False)
        if not np.isfinite(scores).all():
            raise EvaluationError(f"{retriever.name} gives scores that are not finite numbers: its vectors are broken")
        scores[np.arange(len(queries)), queries] = -np.inf
        if allowed is not None:
            scores[~allowed(queries)] = -np.inf
        for row, pairs in zip(scores, pairs_of, strict=True):
            wanted = row[targets[pairs]][:, None]
            if (wanted == -np.inf).any():
                raise EvaluationError("a target is not among the notes that are ranked: leave out its pair")
            ranks[pairs] = 1 + (row > wanted).sum(axis=1) + ((row == wanted).sum(axis=1) - 1) / 2
    return ranks


def recall(ranks: Ranks, k: int) -> float:
    """Share of the pairs whose target is among the first k."""
    return float((ranks <= k).mean())


def recall_error(ranks: Ranks, sources: Indices, k: int) -> float:
    """Standard error of `recall`, clustered by asking note: the pairs of one asking note are not independent.

    It is that of a ratio estimator (Cochran, Sampling Techniques, chapter 6): asking note i has
    n_i pairs, of which h_i are found; with recall R and m asking notes it is √(m / (m - 1) Σ (h_i - R n_i)²) / Σ n_i. NaN for one
    asking note.

    Args:
        ranks: (pairs,).
        sources: (pairs,), each pair's asking note.
        k: how many notes count as found.
    """
    found = ranks <= k
    _, asking = np.unique(sources, return_inverse=True)
    residuals = np.bincount(asking, weights=found - found.mean())
    notes = len(residuals)
    return float(np.sqrt(notes / (notes - 1) * (residuals**2).sum()) / len(ranks)) if notes > 1 else math.nan


def reciprocal_rank(ranks: Ranks) -> float:
    """MRR: the mean of 1 / rank over pairs."""
    return float((1 / ranks).mean())


class Vectors:
    """Retrieval by the inner product of unit vectors.

    Args:
        name: name of the method.
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
    """Yields the sorted query notes, `at_a_time` together, with the positions of each one's pairs."""
    order = np.argsort(sources, kind="stable")
    unique, starts = np.unique(sources[order], return_index=True)
    groups = np.split(order, starts[1:])
    for start in range(0, len(unique), at_a_time):
        yield unique[start : start + at_a_time], groups[start : start + at_a_time]
