"""`ValidationPool`: the notes and pairs on which recall is measured during training. This recall decides which state is kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from training.data import Pair
from training.ranking import Scores, Vectors, recall, recall_error, target_ranks


class Measured(NamedTuple):
    """Recall, and its standard error, clustered by asking note."""

    recall: float
    error: float


@dataclass(frozen=True)
class ValidationPool:
    """Notes of the validation split, those of the pairs with the highest scores first.

    Attributes:
        notes: ids of the notes.
        sources, targets: positions in `notes` of each pair's two notes.
    """

    notes: tuple[str, ...]
    sources: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]

    @property
    def cut(self) -> int:
        """The k of the recall@k that settings are chosen by: a fortieth of the notes, at most 100; in a small pool 12, or a tenth.

        A recall says most where it is neither 0 nor 1. The hundredth place of 1,000 notes is as far down as the 400th of 4,000, and what
        is best there is not best for the first places that people see.
        """
        notes = len(self.notes)
        return max(1, min(100, notes // 40), min(12, notes // 10))

    @classmethod
    def of(cls, pairs: Sequence[Pair], others: Sequence[str], size: int, *, both_ways: bool = False) -> "ValidationPool | None":
        """A pool of at most `size` notes: first those of pairs, then `others`; None if no pair fits.

        Args:
            pairs: highest score first.
            others: ids of notes.
            size: the most notes.
            both_ways: each note of a pair asks for the other one.
        """
        place: dict[str, int] = {}
        kept: list[Pair] = []
        for pair in pairs:
            new = {pair.source, pair.target} - place.keys()
            if len(place) + len(new) > size:
                continue
            for note in sorted(new):
                place[note] = len(place)
            kept.append(pair)
        for note in others:
            if len(place) < size:
                place.setdefault(note, len(place))
        if not kept:
            return None
        sources = np.array([place[pair.source] for pair in kept])
        targets = np.array([place[pair.target] for pair in kept])
        if both_ways:
            sources, targets = np.concatenate([sources, targets]), np.concatenate([targets, sources])
        return cls(tuple(place), sources, targets)

    def recall(self, method: str, vectors: Scores, k: int) -> float:
        """The share that `measure` finds."""
        return self.measure(method, vectors, k).recall

    def measure(self, method: str, vectors: Scores, k: int) -> Measured:
        """Share of the pairs whose target is among the first k notes of the whole pool.

        Args:
            method: name of the method, for errors.
            vectors: unit float32 vectors in the order of `notes`, (pool, dimensions).
            k: how many notes count as found.

        Raises:
            EvaluationError: a note is its own target, or a vector has a value that is not a finite number.
        """
        ranks = target_ranks(Vectors(method, vectors), self.sources, self.targets)
        return Measured(recall(ranks, k), recall_error(ranks, self.sources, k))
