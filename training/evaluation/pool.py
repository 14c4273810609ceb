"""`TestPool`: the notes to search and the pairs to find."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from notellm.note import Note, NoteText
from training.data import Dataset, SplitName
from training.errors import DataError
from training.evaluation.text import note_text
from training.ranking import Indices
from training.suggesting import spread

LATER: tuple[SplitName, SplitName] = ("validation", "test")
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class TestPool:
    """All notes of the test part, in the order of their ids.

    Attributes:
        notes: the notes to search.
        sources, targets: positions of the two notes of each related pair.
        exposure: number of interactions of each note in the whole log.
        training: notes of the training part, for baselines that learn from them.
        arriving: the notes of the other parts, oldest first, if the notes are split by time.
        data: fingerprint of the notes and the log.
        within_category: whether methods are also measured among the notes of the asking note's category.
    """

    __test__ = False  # tells pytest that this class contains no tests

    notes: tuple[Note, ...]
    sources: Indices
    targets: Indices
    exposure: Indices
    training: tuple[Note, ...]
    data: str
    within_category: bool = False
    arriving: tuple[Note, ...] = ()

    @classmethod
    def of(cls, dataset: Dataset, *, within_category: bool = False) -> "TestPool":
        """The pool of a dataset.

        Raises:
            DataError: there is no related pair between test notes, or none within a category although this is wanted.
        """
        ids = sorted(dataset.split.test)
        pairs = dataset.pairs["test"]
        if not pairs:
            raise DataError(f"the {len(ids):,} test notes have no related pair: raise split.test, or relax the pair settings")
        place = {note: index for index, note in enumerate(ids)}
        pool = cls(
            tuple(dataset.notes[note] for note in ids),
            np.array([place[pair.source] for pair in pairs]),
            np.array([place[pair.target] for pair in pairs]),
            np.array([dataset.exposure[note] for note in ids]),
            tuple(dataset.notes[note] for note in sorted(dataset.split.train)),
            dataset.fingerprint,
            within_category,
            tuple(dataset.notes[note] for part in LATER for note in dataset.split.in_order(part))
            if dataset.split.order
            else (),
        )
        if within_category and not pool.one_category.any():
            raise DataError("no related pair of test notes has two notes of one category: leave out --within category")
        return pool

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits. Two measurements can be compared only if these are equal."""
        pairs = np.stack([self.sources, self.targets]).astype("<i8").tobytes()
        ids = "\n".join(note.id for note in self.notes)
        return hashlib.sha256(f"{self.data} {ids}".encode() + pairs).hexdigest()[:16]

    @cached_property
    def copies(self) -> Bools:
        """(notes,), whether the training part has a note with the same text; case and white space do not count."""
        known = {_normal(note) for note in self.training}
        return np.array([_normal(note) in known for note in self.notes], dtype=bool)

    @cached_property
    def without_copies(self) -> Bools:
        """(pairs,), whether neither note's text is in the training part."""
        return ~(self.copies[self.sources] | self.copies[self.targets])

    @cached_property
    def one_category(self) -> Bools:
        """(pairs,), whether both notes are known to be of the same category."""
        asking = self._categories[self.sources]
        same: Bools = (asking == self._categories[self.targets]) & (asking != "")
        return same

    def same_category(self, queries: Indices) -> Bools:
        """Which notes have the category of each query note, (queries, notes)."""
        same: Bools = self._categories[queries][:, None] == self._categories[None]
        return same

    @cached_property
    def _categories(self) -> npt.NDArray[np.str_]:
        return np.array([note.category or "" for note in self.notes])

    def sample(self, count: int) -> tuple[Note, ...]:
        """At most `count` notes, spread evenly over the pool: generation is slow. 0 gives none."""
        return tuple(spread(self.notes, count))


def _normal(note: NoteText) -> str:
    return " ".join(note_text(note).casefold().split())
