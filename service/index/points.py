"""Conversion between notes and Qdrant points, for both indexes."""

import uuid
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np

from service.index.base import DELETED, Entry, IndexedNote, Tombstone, Vector

# Qdrant accepts only numbers and UUIDs as ids; the platform's id is in the payload.
_NAMESPACE = uuid.UUID("5d2b6f0e-93a5-5c0f-8f0b-6f0f5a3f7c11")


def point_id(note_id: str) -> str:
    """Returns the UUID (version 5) under which a note is stored."""
    return str(uuid.uuid5(_NAMESPACE, note_id))


def score_threshold(min_score: float | None) -> float | None:
    """Returns Qdrant's threshold for `min_score`. Its scores have 32 bits and must be above the threshold, not equal to it."""
    return None if min_score is None else float(np.nextafter(np.float32(min_score), np.float32(-np.inf)))


class Record(Protocol):
    """A point, as both libraries return it."""

    @property
    def payload(self) -> dict[str, Any] | None:
        """The payload that was stored with the point."""
        ...

    @property
    def vector(self) -> object:
        """The point's vectors by name, if they were requested."""
        ...


def vector_of(record: Record, vector_name: str) -> Vector | None:
    """Returns the point's vector of one model, (dimensions,); None if it was not requested or the point has none."""
    own = record.vector.get(vector_name) if isinstance(record.vector, dict) else None
    return np.asarray(own, dtype=np.float32) if own is not None else None


def entries(records: Iterable[Record], vector_name: str | None = None) -> list[Entry]:
    """Turns points into notes and tombstones. Notes get their vector of the named model, or no vector if the name is None."""
    return [_entry(record.payload or {}, None if vector_name is None else vector_of(record, vector_name)) for record in records]


def notes_among(found: Iterable[Entry]) -> list[IndexedNote]:
    """Returns only the notes."""
    return [entry for entry in found if isinstance(entry, IndexedNote)]


def tombstones_among(found: Iterable[Entry]) -> list[Tombstone]:
    """Returns only the tombstones."""
    return [entry for entry in found if isinstance(entry, Tombstone)]


def by_version(notes: Iterable[IndexedNote]) -> dict[int | None, list[IndexedNote]]:
    """Groups notes by version, because a conditional write has one condition for all of its points."""
    groups: dict[int | None, list[IndexedNote]] = {}
    for note in notes:
        groups.setdefault(note.version, []).append(note)
    return groups


def _entry(payload: dict[str, Any], vector: Vector | None) -> Entry:
    return Tombstone(payload["id"], payload[DELETED]) if DELETED in payload else IndexedNote(payload, vector)
