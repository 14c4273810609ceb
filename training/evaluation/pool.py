"""`TestPool`: the notes that are searched and the pairs that must be found."""

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
        notes: what is searched.
        sources, targets: positions of each related pair's notes.
        exposure: interactions of each note in the whole log.
        training: notes of the training part, for baselines that learn from them.
        data: fingerprint of the notes and the log.
    """

    __test__ = False  # not a class of tests

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
            raise DataError(
                f"no related pair lies between the {len(ids):,} test notes: raise split.test, or loosen the pair settings"
            )
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
        """16 hex digits that change whenever measurements on the pool could not be compared any more."""
        pairs = np.stack([self.sources, self.targets]).astype("<i8").tobytes()
        ids = "\n".join(note.id for note in self.notes)
        return hashlib.sha256(f"{self.data} {ids}".encode() + pairs).hexdigest()[:16]

    def sample(self, count: int) -> tuple[Note, ...]:
        """At most `count` notes, spread evenly over the pool: generation is slow."""
        step = max(1, -(-len(self.notes) // count))
        return self.notes[::step]
