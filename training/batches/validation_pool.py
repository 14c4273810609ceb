"""`ValidationPool`: the notes and pairs on which recall is measured during training. This recall decides which state is kept."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.data import Pair
from training.ranking import Scores, Vectors, recall, target_ranks


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

    @classmethod
    def of(cls, pairs: Sequence[Pair], others: Sequence[str], size: int) -> "ValidationPool | None":
        """A pool of at most `size` notes: first those of pairs, then `others`; None if no pair fits."""
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
        return cls(tuple(place), sources, targets)

    def recall(self, method: str, vectors: Scores, k: int) -> float:
        """Share of the pairs whose target is among the first k notes of the whole pool.

        Args:
            method: name of the method, for errors.
            vectors: unit float32 vectors in the order of `notes`, (pool, dimensions).
            k: how many notes count as found.

        Raises:
            EvaluationError: a note is its own target, or a vector has a value that is not a finite number.
        """
        return recall(target_ranks(Vectors(method, vectors), self.sources, self.targets), k)
