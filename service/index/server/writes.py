"""`ServerWriter`: writes to a Qdrant server, and returns the outcomes.

A Qdrant server does not say which points a conditional write has skipped. Reading the points after the write would not help: by then,
another client may have written again. So the writer reads the points *before* the write, and `outcomes` decides based on them. The write
also carries a condition, in case another client writes in between. Even then, the outcome stays true. An example: we write version 4 and
have seen nothing newer; another client stores version 5, or deletes version 4; the server skips our write. The index is now the same as if
our write had been done just before the other client's, which would have replaced it: nobody can tell the difference.

There is one exception: of concurrent imports, only the first one counts. See `NoteIndex.restore` and `NoteIndex.bury`.
`tests/service/index/test_races.py` tries the other pairs of writes.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from qdrant_client import AsyncQdrantClient, models

from service.index.base import DELETED, Deleted, Entry, IndexedNote, Restored, Tombstone, Upserted
from service.index.outcomes import buried, decide, restored, upserted
from service.index.points import by_version, entries, point_id
from service.index.server.calls import NoAnswer, ServerCalls, VectorsGone
from service.index.server.collection import held_vectors
from service.index.server.filters import buried_by, not_newer_than, of_text, older_than, unnumbered

Condition = Callable[[int | None], models.Filter | None]
# The fields that distinguish a note from a tombstone, and hold the version.
_VERSION = ["id", "version", DELETED]


class ServerWriter:
    """Writes to a collection.

    Args:
        client: the client of the server.
        calls: makes the calls.
        collection: name of the collection.
    """

    def __init__(self, client: AsyncQdrantClient, calls: ServerCalls, collection: str) -> None:
        self._client = client
        self._calls = calls
        self._collection = collection

    async def upsert(self, notes: Sequence[IndexedNote], vector_name: str, seen: Mapping[str, Entry] | None) -> list[Upserted]:
        """See `NoteIndex.upsert`. All notes are sent in one request."""
        if seen is None:
            seen = await self._look([note.id for note in notes if note.version is not None], _VERSION)
        outcomes, writes = decide(notes, seen, upserted)
        await self._store(writes, vector_name, not_newer_than)
        return outcomes

    async def restore(self, notes: Sequence[IndexedNote], vector_name: str) -> list[Restored]:
        """See `NoteIndex.restore`."""
        outcomes, writes = decide(notes, await self._look([note.id for note in notes]), restored)
        await self._store(writes, vector_name, older_than)
        return outcomes

    async def bury(self, tombstones: Sequence[Tombstone]) -> list[Restored]:
        """See `NoteIndex.bury`."""
        outcomes, writes = decide(tombstones, await self._look([left.id for left in tombstones], _VERSION), buried)
        await self._write([_burial(left, buried_by(left.version)) for left in writes])
        return outcomes

    async def delete(self, ids: Sequence[str]) -> list[Deleted]:
        """See `NoteIndex.delete`. If another client stores a newer version in between, that version is kept."""
        seen = await self._look(ids, _VERSION)
        notes = {entry.id: entry.version for entry in seen.values() if isinstance(entry, IndexedNote)}
        # Notes without a version leave no tombstone, because their client may store them again.
        gone: list[models.ExtendedPointId] = [point_id(note_id) for note_id, version in notes.items() if version is None]
        left = [Tombstone(note_id, version) for note_id, version in notes.items() if version is not None]
        operations: list[models.UpdateOperation] = [_burial(one, not_newer_than(one.version)) for one in left]
        if gone:
            operations.append(models.DeleteOperation(delete=models.FilterSelector(filter=unnumbered(gone))))
        await self._write(operations)
        return ["deleted" if note_id in notes else "missing" for note_id in ids]

    async def fill(self, notes: Sequence[IndexedNote], vector_name: str) -> None:
        """See `NoteIndex.fill`. If a note is deleted meanwhile, the server refuses it and skips the notes after it: fill again."""
        seen = await self._look([note.id for note in notes], ["content_hash", *_VERSION])
        await self._write(
            [
                models.UpdateVectorsOperation(
                    update_vectors=models.UpdateVectors(
                        points=[models.PointVectors(id=point_id(note.id), vector={vector_name: note.vector.tolist()})],
                        update_filter=of_text(note.payload["content_hash"]),
                    )
                )
                for note in notes
                if note.vector is not None
                and isinstance(found := seen.get(note.id), IndexedNote)
                and found.payload.get("content_hash") == note.payload["content_hash"]
            ]
        )

    async def _look(self, ids: Sequence[str], fields: list[str] | None = None) -> dict[str, Entry]:
        """Returns the stored entries without vectors, with the named fields of the payload or, if None, with all fields."""
        points = [point_id(note_id) for note_id in ids]
        if not points:
            return {}
        records = await self._calls.repeatable(
            lambda: self._client.retrieve(self._collection, points, with_payload=fields or True)
        )
        return {entry.id: entry for entry in entries(records)}

    async def _store(self, notes: Sequence[IndexedNote], vector_name: str, replaced: Condition) -> None:
        points = {version: [_point(note, vector_name) for note in group] for version, group in by_version(notes).items()}
        try:
            await self._write(_upserts(points, replaced))
        except VectorsGone:
            # Another replica has ended a migration. The server refuses a whole request that names vectors which are gone, so
            # that nothing has been written yet. The notes are stored with the vectors that are left.
            held = await self._held()
            kept = {version: [_with_some(point, held) for point in group] for version, group in points.items()}
            await self._write(_upserts(kept, replaced))

    async def _held(self) -> Collection[str]:
        """Returns the names of the vectors of the collection."""
        return held_vectors(await self._calls.repeatable(lambda: self._client.get_collection(self._collection)))

    async def _write(self, operations: Sequence[models.UpdateOperation]) -> None:
        if operations:  # an empty request is refused
            await self._calls.once(lambda: self._write_once(operations))

    async def _write_once(self, operations: Sequence[models.UpdateOperation]) -> None:
        for result in await self._client.batch_update_points(self._collection, operations, wait=True):
            # The server may report without an error that it has accepted a write but not done it yet.
            if result.status is not models.UpdateStatus.COMPLETED:
                raise NoAnswer(f"the Qdrant server did not finish the write in time ({result.status})")


def _point(note: IndexedNote, vector_name: str) -> models.PointStruct:
    if note.vector is None:
        raise ValueError(f"note {note.id} has no vector")
    vectors = {vector_name: note.vector, **note.others}
    return models.PointStruct(
        id=point_id(note.id), vector={name: vector.tolist() for name, vector in vectors.items()}, payload=note.payload
    )


def _upserts(points: Mapping[int | None, list[models.PointStruct]], replaced: Condition) -> list[models.UpsertOperation]:
    """Returns one write per version. See `Condition`."""
    return [
        models.UpsertOperation(upsert=models.PointsList(points=group, update_filter=replaced(version)))
        for version, group in points.items()
    ]


def _with_some(point: models.PointStruct, held: Collection[str]) -> models.PointStruct:
    """Returns a point with those of its vectors that the collection holds.

    Raises:
        VectorsGone: it holds none of them.
    """
    vectors = point.vector if isinstance(point.vector, dict) else {}
    kept = {name: vector for name, vector in vectors.items() if name in held}
    if not kept:
        raise VectorsGone
    return point.model_copy(update={"vector": kept})


def _burial(left: Tombstone, replaced: models.Filter | None) -> models.UpsertOperation:
    point = models.PointStruct(id=point_id(left.id), vector={}, payload=left.payload)
    return models.UpsertOperation(upsert=models.PointsList(points=[point], update_filter=replaced))
