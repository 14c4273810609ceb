"""`TestPool`: the notes to search and the pairs to find."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from notellm.note import Note
from training.data import Dataset
from training.errors import DataError
from training.ranking import Indices


@dataclass(frozen=True)
class TestPool:
    """All notes of the test part, in the order of their ids.

    Attributes:
        notes: the notes to search.
        sources, targets: positions of the two notes of each related pair.
        exposure: number of interactions of each note in the whole log.
        training: notes of the training part, for baselines that learn from them.
        data: fingerprint of the notes and the log.
    """

    __test__ = False  # tells pytest that this class contains no tests

    notes: tuple[Note, ...]
    sources: Indices
    targets: Indices
    exposure: Indices
    training: tuple[Note, ...]
    data: str

    @classmethod
    def of(cls, dataset: Dataset) -> "TestPool":
        """The pool of a dataset.

        Raises:
            DataError: there is no related pair between test notes.
        """
        ids = sorted(dataset.split.test)
        pairs = dataset.pairs["test"]
        if not pairs:
            raise DataError(f"the {len(ids):,} test notes have no related pair: raise split.test, or relax the pair settings")
        place = {note: index for index, note in enumerate(ids)}
        return cls(
            tuple(dataset.notes[note] for note in ids),
            np.array([place[pair.source] for pair in pairs]),
            np.array([place[pair.target] for pair in pairs]),
            np.array([dataset.exposure[note] for note in ids]),
            tuple(dataset.notes[note] for note in sorted(dataset.split.train)),
            dataset.fingerprint,
        )

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits. Two measurements can be compared only if these are equal."""
        pairs = np.stack([self.sources, self.targets]).astype("<i8").tobytes()
        ids = "\n".join(note.id for note in self.notes)
        return hashlib.sha256(f"{self.data} {ids}".encode() + pairs).hexdigest()[:16]

    def sample(self, count: int) -> tuple[Note, ...]:
        """At most `count` notes, spread evenly over the pool: generation is slow."""
        step = max(1, -(-len(self.notes) // count))
        return self.notes[::step]
