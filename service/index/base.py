"""`NoteIndex`: notes and their vectors, found by id or by nearness."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from service.index.description import Description

Vector = npt.NDArray[np.float32]
# Marks the payload of what is left of a deleted note: the version it had.
DELETED = "deleted_version"
# What became of a note that was to be stored, see `NoteIndex.upsert`; restored or buried; deleted.
Upserted = Literal["stored", "overtaken", "buried"]
Restored = Literal["stored", "deleted", "unchanged", "kept"]
Deleted = Literal["deleted", "missing"]


@dataclass(frozen=True)
class IndexedNote:
    """A note as it is stored.

    Attributes:
        payload: `Note.payload()`.
        vector: unit vector, (dimensions,); None where it was not asked for, or the note has none of this model.
        others: unit vectors of other models by their names, to be stored along.
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
class ScoredNote:
    """A stored note and its cosine with what was asked for; its unit vector where that was asked for, too."""

    payload: dict[str, Any]
    score: float
    vector: Vector | None = None

    @property
    def id(self) -> str:
        """The platform's id."""
        return str(self.payload["id"])


@dataclass(frozen=True)
class Tombstone:
    """What is left of a note that was deleted in a version: it does not come back in this one or a lower one."""

    id: str
    version: int

    @property
    def payload(self) -> dict[str, Any]:
        """As it is stored."""
        return {"id": self.id, DELETED: self.version}


# What is stored under an id.
Entry = IndexedNote | Tombstone


@dataclass(frozen=True)
class NotePage:
    """A part of the index, in the order of its points.

    Attributes:
        notes: with their vectors; a note that has none of the served model has None.
        next: where the following page begins; None after the last one.
        deleted: what lies between the notes of deleted ones.
    """

    notes: list[IndexedNote]
    next: str | None
    deleted: list[Tombstone] = field(default_factory=list)


@dataclass(frozen=True)
class NoteFilter:
    """Which notes count.

    Attributes:
        category, hashtag_key: exact values of the payload.
        created_after: later than this.
        exclude: ids that do not count.
    """

    category: str | None = None
    hashtag_key: str | None = None
    created_after: datetime | None = None
    exclude: Collection[str] = ()


@dataclass(frozen=True)
class IndexState:
    """What can be told of an index without asking its server, for metrics.

    Attributes:
        free_bytes: of the disk of an embedded index; None where it is on a server, or the disk cannot be asked.
        reserved_bytes: with less free than this it takes no writes.
        left_alone: for each server that it asks, by its name in metrics: whether it is left alone after failures.
    """

    free_bytes: int | None = None
    reserved_bytes: int | None = None
    left_alone: Mapping[str, bool] = field(default_factory=dict)


class NoteIndex(Protocol):
    """Notes by the vectors of one model. Every method raises `IndexUnavailable` when the store does not answer or refuses.

    Attributes:
        name: of the kind of store.
        vector_name: of the model's vectors.
        shared: whether other processes may write to the store at the same time.
    """

    name: str
    vector_name: str
    shared: bool

    async def upsert(self, notes: Sequence[IndexedNote], *, seen: Mapping[str, Entry] | None = None) -> list[Upserted]:
        """Stores notes with their vectors, durably, before it returns.

        A stored note of a higher version is kept, so that a late write does no harm, and so is a deletion of the same or a higher
        one: a note that was deleted comes back by a new version only. One of the same version is replaced: it is the
        same note, or the client has numbered two alike and the last write counts. A note without a version replaces whatever is
        stored, its version and its deletion included, and is itself replaced by any.

        Args:
            notes: with their vectors.
            seen: what `look` found under their ids, earlier in the same request. It spares a request to a server.

        Returns:
            What became of each note, in their order: `stored`; `overtaken` by a higher version, which was kept; `buried`, since it
            was deleted in this version or a higher one. It was so at one moment between the look and the return. Other clients'
            writes of that time come before or after that moment.
        """
        ...

    async def look(self, ids: Sequence[str], *, with_vectors: bool = False) -> dict[str, Entry]:
        """What is stored under the ids, by id: notes, and tombstones of deleted notes."""
        ...

    async def get(self, ids: Sequence[str], *, with_vectors: bool = False) -> dict[str, IndexedNote]:
        """The notes that are stored under the ids, by id."""
        ...

    async def search(
        self, vector: Vector, *, where: NoteFilter, limit: int, offset: int = 0, min_score: float | None = None,
        with_vectors: bool = False,
    ) -> list[ScoredNote]:  # fmt: skip
        """The nearest notes by cosine, nearest first; those with `min_score` or more, where it is given."""
        ...

    async def delete(self, ids: Sequence[str]) -> list[Deleted]:
        """Forgets notes, durably, before it returns.

        A note that had a version leaves a tombstone, its id and version, which `upsert` heeds.

        Returns:
            What became of each note, in the order of the ids: `deleted`; `missing`, since no note was stored under the id. Clients
            that delete the same note at the same time may each be told `deleted`.
        """
        ...

    async def scroll(self, *, start: str | None = None, limit: int, lacking: bool = False) -> NotePage:
        """All notes and tombstones, page by page; `start` is the `next` of the page before. A note that stays is in exactly one page.

        With `lacking` only those notes that have no vector of this model, without vectors, and no tombstones.
        """
        ...

    async def restore(self, notes: Sequence[IndexedNote]) -> list[Restored]:
        """Stores notes that are missing, durably, and replaces stored ones of a lower version; all others are kept.

        A deleted note comes back only in a higher version than the deleted one.

        Returns:
            What became of each note, in their order: `stored`; `unchanged`, since it was stored already; `kept`: the index keeps
            another state of the note. See `upsert` for when it was so. On a shared store, clients that restore or bury the same note
            at the same time may each be told that they did, although the store keeps only what came first.
        """
        ...

    async def bury(self, tombstones: Sequence[Tombstone]) -> list[Restored]:
        """Stores tombstones of notes that were deleted elsewhere, durably.

        They take the place of notes of the same or a lower version and of tombstones of a lower one. A note of a higher version, or
        without one, is kept.

        Returns:
            What became of each, in their order: `deleted`; `unchanged`, since the note was deleted already in this version or a
            higher one; `kept`: the index keeps a note. See `restore` for when it was so.
        """
        ...

    async def count(self, *, lacking: bool = False) -> int:
        """Stored notes; with `lacking` an estimate of those that have no vector of this model."""
        ...

    def of_model(self, vector_name: str) -> "NoteIndex":
        """The same notes by the vectors of another model. It is closed with this one."""
        ...

    async def fill(self, notes: Sequence[IndexedNote]) -> None:
        """Adds this model's vectors to notes that are stored with the text that was embedded, durably.

        Never adds a note: one that was deleted meanwhile stays deleted, one that was changed keeps what it has.
        """
        ...

    async def describe(self) -> Description:
        """Whose vectors the index holds."""
        ...

    async def describe_as(self, description: Description) -> None:
        """Notes that down, durably, before it returns. The vectors that it names exist then; those being dropped stay."""
        ...

    async def drop(self, vector_name: str) -> None:
        """Removes a model's vectors from all notes, and the mark that they are being dropped."""
        ...

    def state(self) -> IndexState:
        """Of this moment."""
        ...

    def size_warning(self, count: int, limit: int) -> str | None:
        """What an operator should know about an index of `count` notes; None where it has no limit, or is within it."""
        ...

    async def close(self) -> None:
        """Releases the store."""
        ...
