"""What stays of deleted notes in an embedded index."""

from uuid import UUID

import qdrant_edge as edge

from service.index.base import Tombstone
from service.index.edge.filters import buried_by
from service.index.points import point_id


def left_of(record: edge.Record) -> edge.Point | None:
    """What stays of a note with a version, and only of such: a client that does not number notes may store it anew."""
    payload = record.payload or {}
    if payload.get("version") is None:
        return None
    return edge.Point(record.id, {}, Tombstone(payload["id"], payload["version"]).payload)


def burial(left: Tombstone) -> edge.UpdateOperation:
    """Stores a tombstone unless there is something newer."""
    point = edge.Point(UUID(point_id(left.id)), {}, left.payload)
    return edge.UpdateOperation.upsert_points([point], condition=buried_by(left.version))
