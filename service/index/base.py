"""`NoteIndex`: stores notes and their vectors, and finds them by id or by nearness."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from service.index.description import Description

Vector = npt.NDArray[np.float32]
# Key in the payload of a tombstone: the version that the deleted note had.
DELETED = "deleted_version"
# The length of a unit vector that was rounded to float16 differs from 1 by less than this.
LENGTH_TOLERANCE = 1e-3
# What a request is told that needs vectors which are gone, because a migration has ended since it began.
CHANGED = "the served model has changed since this request began: send it again"
# Outcomes for one note: of `NoteIndex.upsert`, of `restore` and `bury`, and of `delete`.
Upserted = Literal["stored", "overtaken", "buried"]
Restored = Literal["stored", "deleted", "unchanged", "kept"]
Deleted = Literal["deleted", "missing"]


@dataclass(frozen=True)
class IndexedNote:
    """A stored note.

    Attributes:
        payload: the result of `Note.payload()`.
        vector: unit vector, (dimensions,); None if it was not requested, or if the note has no vector of this model.
        others: unit vectors of other models by their names, which are stored as well.
    """

    payload: dict[str, Any]
    vector: Vector | None
    others: Mapping[str, Vector] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The platform's id."""
        return str(self.payload["id"])

    @property
    def version(self) -> int | None:
        """The client's version."""
        version: int | None = self.payload.get("version")
        return version


@dataclass(frozen=True)
class HashtagCounts:
    """How many notes were counted, and how many of them have each hashtag, as they spell it, most used first."""

    notes: int
    spellings: dict[str, int]


@dataclass(frozen=True)
class ScoredNote:
    """A stored note, its cosine with the query, and its unit vector if that was requested."""

    payload: dict[str, Any]
    score: float
    vector: Vector | None = None

    @property
    def id(self) -> str:
        """The platform's id."""
        return str(self.payload["id"])


@dataclass(frozen=True)
class Tombstone:
    """The trace of a deleted note that had a version: the note is not stored again in this version or a lower one."""

    id: str
    version: int

    @property
    def payload(self) -> dict[str, Any]:
        """The payload that is stored."""
        return {"id": self.id, DELETED: self.version}


# An entry that is stored under an id.
Entry = IndexedNote | Tombstone


@dataclass(frozen=True)
class NotePage:
    """A part of the index, in the order of its points.

    Attributes:
        notes: the notes with their vectors; the vector is None if a note has none of the requested model.
        next: where the next page begins; None on the last page.
        deleted: the tombstones between the notes.
    """

    notes: list[IndexedNote]
    next: str | None
    deleted: list[Tombstone] = field(default_factory=list)


@dataclass(frozen=True)
class NoteFilter:
    """Selects notes.

    Attributes:
        category, hashtag_key: exact values in the payload; None for any.
        created_after: notes must be published later than this; None for any time.
        exclude: ids of notes to leave out.
    """

    category: str | None = None
    hashtag_key: str | None = None
    created_after: datetime | None = None
    exclude: Collection[str] = ()


@dataclass(frozen=True)
class IndexState:
    """The state of an index for metrics, read without asking a server.

    Attributes:
        free_bytes: free space on the disk of an embedded index; None for a server, or if the disk cannot be read.
        reserved_bytes: an embedded index refuses writes if less space than this is free.
        left_alone: for each server, by its name in metrics: whether calls are refused at once because the server has failed.
    """

    free_bytes: int | None = None
    reserved_bytes: int | None = None
    left_alone: Mapping[str, bool] = field(default_factory=dict)


class NoteIndex(Protocol):
    """Notes with the vectors of one model. Every method raises `IndexUnavailable` if the store does not answer or refuses.

    Attributes:
        name: the kind of store.
        vector_name: name of the model's vectors.
        shared: whether other processes may write to the store at the same time.
        exact_up_to: up to how many notes `count` is exact, above which it is an estimate; None if it is always exact.
    """

    name: str
    vector_name: str
    shared: bool
    exact_up_to: int | None

    async def upsert(self, notes: Sequence[IndexedNote], *, seen: Mapping[str, Entry] | None = None) -> list[Upserted]:
        """Stores notes with their vectors. They are on disk when it returns.

        A stored note with a higher version is kept, so that a late write does no harm. A deletion of the same or a higher version is
        kept as well: a deleted note comes back only with a new version. A stored note with the same version is replaced: it is the same
        note, or the client has used a version twice and the last write counts. A note without a version replaces whatever is stored,
        even a note or deletion with a version, and any note may replace it.

        Args:
            notes: the notes with their vectors.
            seen: what `look` found under their ids earlier in the same request. It saves a request to a server.

        Returns:
            The outcome for each note, in order: `stored`; `overtaken`: a note with a higher version was kept; `buried`: the note was
            deleted in this version or a higher one. The outcomes were true at one moment between the look and the return; every
            concurrent write of another client came before or after that moment.
        """
        ...

    async def look(self, ids: Sequence[str], *, with_vectors: bool = False) -> dict[str, Entry]:
        """Returns what is stored under the ids, by id: notes, and tombstones of deleted notes."""
        ...

    async def get(self, ids: Sequence[str], *, with_vectors: bool = False) -> dict[str, IndexedNote]:
        """Returns the notes that are stored under the ids, by id. A note has no vector if the store has none of this model."""
        ...

    async def search(
        self, vector: Vector, *, where: NoteFilter, limit: int, offset: int = 0, min_score: float | None = None,
        with_vectors: bool = False,
    ) -> list[ScoredNote]:  # fmt: skip
        """Returns the nearest notes by cosine, nearest first; only those with at least `min_score`, if it is given.

        Raises:
            InvalidRequest: the store has no vectors of this model any more.
        """
        ...

    async def delete(self, ids: Sequence[str]) -> list[Deleted]:
        """Deletes notes. The deletions are on disk when it returns.

        A note that had a version leaves a tombstone with its id and version, which `upsert` respects.

        Returns:
            The outcome for each id, in order: `deleted`; `missing`: no note was stored under the id. Clients that delete the same note
            at the same time may each get `deleted`.
        """
        ...

    async def scroll(self, *, start: str | None = None, limit: int, lacking: bool = False) -> NotePage:
        """Returns all notes and tombstones, page by page. A note that is stored all the time is on exactly one page.

        `start` is the `next` of the previous page. With `lacking`, it returns only notes that have no vector of this model, without other
        vectors and without tombstones.
        """
        ...

    async def restore(self, notes: Sequence[IndexedNote]) -> list[Restored]:
        """Stores missing notes and replaces notes with a lower version, durably. All other stored notes are kept.

        A deleted note comes back only with a higher version than the deleted one.

        Returns:
            The outcome for each note, in order: `stored`; `unchanged`: it was stored already; `kept`: the index keeps another state of the
            note. As in `upsert`, the outcomes were true at one moment. There is an exception on a shared store: clients that restore or
            bury the same note at the same time may each be told that they succeeded, although the store keeps only the first write.
        """
        ...

    async def bury(self, tombstones: Sequence[Tombstone]) -> list[Restored]:
        """Stores tombstones of notes that were deleted elsewhere, durably.

        They replace notes with the same or a lower version, and tombstones with a lower version. A note with a higher version or without
        a version is kept.

        Returns:
            The outcome for each tombstone, in order: `deleted`; `unchanged`: the note was already deleted in this version or a higher one;
            `kept`: the index keeps a note. They are true at one moment, with the exception in `restore`.
        """
        ...

    async def count(self, *, lacking: bool = False) -> int:
        """Returns the number of stored notes; with `lacking`, how many of them have no vector of this model. See `exact_up_to`."""
        ...

    async def hashtags(self, limit: int, *, created_after: datetime | None = None) -> HashtagCounts:
        """Counts the hashtags that most stored notes have. Large numbers may be estimates.

        Args:
            limit: the most spellings to return.
            created_after: count only notes that were published after this time.
        """
        ...

    def of_model(self, vector_name: str) -> "NoteIndex":
        """Returns the same notes with the vectors of another model. Closing this index also closes the returned one."""
        ...

    async def fill(self, notes: Sequence[IndexedNote]) -> None:
        """Adds this model's vectors to stored notes that still have the embedded text, durably.

        It never adds a note: a note that was deleted meanwhile stays deleted, and a note that was changed keeps its vectors.
        """
        ...

    async def describe(self) -> Description:
        """Returns which models' vectors the index holds."""
        ...

    async def describe_as(self, description: Description) -> None:
        """Records a description, durably, and creates the vectors that it names. Vectors that are being dropped stay for now."""
        ...

    async def drop(self, vector_name: str) -> None:
        """Removes a model's vectors from all notes, and the mark that they are being dropped."""
        ...

    def state(self) -> IndexState:
        """Returns the current state."""
        ...

    def size_warning(self, count: int, limit: int) -> str | None:
        """Returns a warning for the operator if `count` notes are more than the index is made for; None if they are not."""
        ...

    async def close(self) -> None:
        """Releases the store."""
        ...
