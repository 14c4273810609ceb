"""How a note becomes a point of Qdrant, which both indexes share."""

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from service.index.base import DELETED, IndexedNote, Tombstone

# Qdrant takes numbers and UUIDs as ids only; the platform's id is in the payload.
_NAMESPACE = uuid.UUID("5d2b6f0e-93a5-5c0f-8f0b-6f0f5a3f7c11")


def point_id(note_id: str) -> str:
    """The UUID (version 5) under which a note is stored."""
    return str(uuid.uuid5(_NAMESPACE, note_id))


def score_threshold(min_score: float | None) -> float | None:
    """What Qdrant, whose scores are of 32 bits and must be above its threshold, is asked for."""
    return None if min_score is None else float(np.nextafter(np.float32(min_score), np.float32(-np.inf)))


def tombstones_among(payloads: Iterable[Mapping[str, Any]]) -> list[Tombstone]:
    """Those of the payloads that are of deleted notes."""
    return [Tombstone(payload["id"], payload[DELETED]) for payload in payloads if DELETED in payload]


def by_version(notes: Iterable[IndexedNote]) -> dict[int | None, list[IndexedNote]]:
    """The notes grouped by version, since a conditional write has one condition for all of its points."""
    groups: dict[int | None, list[IndexedNote]] = {}
    for note in notes:
        groups.setdefault(note.version, []).append(note)
    return groups
