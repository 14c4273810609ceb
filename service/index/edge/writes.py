"""`EdgeWriter`: writes to an embedded index, and returns the outcomes."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import qdrant_edge as edge

from service.index.base import Deleted, Entry, IndexedNote, Restored, Tombstone, Upserted
from service.index.edge.disk import DiskReserve
from service.index.edge.durability import Durability
from service.index.edge.vectors import EdgeVectors
from service.index.outcomes import buried, decide, restored, upserted
from service.index.points import entries, point_id


class EdgeWriter:
    """Reads, decides and writes in one call on the index's thread. Nobody else can write in between, so writes need no condition.

    Args:
        vectors: the vectors in the shard.
        durable: brings writes to the disk.
        reserve: refuses writes when the disk is nearly full.

    Attributes:
        durable: brings writes to the disk.
    """

    def __init__(self, vectors: EdgeVectors, durable: Durability, reserve: DiskReserve) -> None:
        self.durable = durable
        self._vectors = vectors
        self._reserve = reserve

    def upsert(self, notes: Sequence[IndexedNote], vector_name: str) -> list[Upserted]:
        """See `NoteIndex.upsert`."""
        stored = self._stored([note.id for note in notes if note.version is not None])
        outcomes, writes = decide(notes, stored, upserted)
        self._store(writes, vector_name)
        return outcomes

    def restore(self, notes: Sequence[IndexedNote], vector_name: str) -> list[Restored]:
        """See `NoteIndex.restore`."""
        outcomes, writes = decide(notes, self._stored([note.id for note in notes]), restored)
        self._store(writes, vector_name)
        return outcomes

    def bury(self, tombstones: Sequence[Tombstone]) -> list[Restored]:
        """See `NoteIndex.bury`."""
        outcomes, writes = decide(tombstones, self._stored([left.id for left in tombstones]), buried)
        if writes:
            self._write(_burial(writes))
        return outcomes

    def delete(self, ids: Sequence[str]) -> list[Deleted]:
        """See `NoteIndex.delete`. A tombstone replaces its note in one step: a kill leaves either the note or the tombstone."""
        notes = {entry.id: entry.version for entry in self._stored(ids).values() if isinstance(entry, IndexedNote)}
        if notes:
            self._reserve.check()
            self._delete(notes)
        return ["deleted" if note_id in notes else "missing" for note_id in ids]

    def fill(self, notes: Sequence[IndexedNote], vector_name: str) -> None:
        """See `NoteIndex.fill`."""
        stored = self._stored([note.id for note in notes])
        filled = [
            edge.PointVectors(UUID(point_id(note.id)), {vector_name: note.vector.tolist()})
            for note in notes
            if note.vector is not None
            and isinstance(found := stored.get(note.id), IndexedNote)
            and found.payload.get("content_hash") == note.payload["content_hash"]
        ]
        if filled:
            self._write(edge.UpdateOperation.update_vectors(filled))

    def _stored(self, ids: Sequence[str]) -> dict[str, Entry]:
        points: list[edge.PointId] = [UUID(point_id(note_id)) for note_id in ids]
        return {entry.id: entry for entry in entries(self.durable.retrieve(points) if points else [])}

    def _store(self, notes: Sequence[IndexedNote], vector_name: str) -> None:
        if notes:
            self._write(edge.UpdateOperation.upsert_points([self._point(note, vector_name) for note in notes]))

    def _delete(self, notes: dict[str, int | None]) -> None:
        operations = []
        if left := [Tombstone(note_id, version) for note_id, version in notes.items() if version is not None]:
            operations.append(_burial(left))
        # Notes without a version leave no tombstone, because their client may store them again.
        if gone := [UUID(point_id(note_id)) for note_id, version in notes.items() if version is None]:
            self.durable.expect_fewer(len(gone))
            operations.append(edge.UpdateOperation.delete_points(list(gone)))
        self.durable.write(operations)

    def _write(self, operation: edge.UpdateOperation) -> None:
        self._reserve.check()
        self.durable.write([operation])

    def _point(self, note: IndexedNote, vector_name: str) -> edge.Point:
        if note.vector is None:
            raise ValueError(f"note {note.id} has no vector")
        vectors: dict[str, Any] = {**self._vectors.held({vector_name: note.vector, **note.others})}
        return edge.Point(UUID(point_id(note.id)), vectors, note.payload)


def _burial(tombstones: Sequence[Tombstone]) -> edge.UpdateOperation:
    return edge.UpdateOperation.upsert_points([edge.Point(UUID(point_id(left.id)), {}, left.payload) for left in tombstones])
