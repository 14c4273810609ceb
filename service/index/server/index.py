"""`ServerIndex`: a Qdrant server through qdrant-client."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from qdrant_client import AsyncQdrantClient, models

from service.errors import IndexUnavailable, StartupError
from service.index.base import DELETED, IndexedNote, IndexState, NoteFilter, NotePage, ScoredNote, Tombstone, Vector
from service.index.description import Description
from service.index.points import by_version, point_id, score_threshold, tombstones_among
from service.index.server.calls import NoAnswer, ServerCalls, reason
from service.index.server.collection import Collection, CollectionSettings
from service.index.server.filters import (
    buried_by,
    lacking_vector,
    matching,
    not_newer_than,
    of_text,
    older_than,
    tombstones,
    unnumbered,
    without_vector,
)

TIMEOUT_SECONDS = 10
# Where vectors are quantised, twice as many as asked for are selected by the copy and ranked by the vectors themselves.
_SEARCH = models.SearchParams(quantization=models.QuantizationSearchParams(rescore=True, oversampling=2.0))


class ServerIndex:
    """A collection with one named vector a model. Make one with `ServerIndex.open`.

    Only reads are tried again. A write may have been done although its answer was lost; by the time of another try, someone may have
    seen it, and have deleted the note or written it anew, and been told so. Done again, it would bring the note back, or the older
    text of two without versions. So a write that fails is told to the client, who knows whether it is still wanted.

    Args:
        client: by gRPC, or in local mode.
        calls: how it is asked.
        collection: its place on the server.
        vector_name: of the model's vectors.
    """

    name = "qdrant-server"
    shared = True

    def __init__(self, client: AsyncQdrantClient, calls: ServerCalls, collection: Collection, vector_name: str) -> None:
        self.vector_name = vector_name
        self._client = client
        self._calls = calls
        self._collection = collection.name
        self._description = collection

    @classmethod
    async def open(
        cls,
        client: AsyncQdrantClient,
        *,
        collection: str,
        vector_name: str,
        dimensions: int,
        settings: CollectionSettings = CollectionSettings(),  # noqa: B008 - frozen
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> "ServerIndex":
        """Opens the collection, or makes it with its payload indexes.

        Raises:
            StartupError: the server does not answer or is too old, or the collection holds another model's vectors.
        """
        calls = ServerCalls(timeout_seconds)
        described = Collection(client, calls, collection, settings)
        try:
            await described.prepare(vector_name, dimensions)
        except IndexUnavailable as error:
            raise StartupError(
                f"{error.detail}. {reason(error.__cause__)} Check NOTELLM_QDRANT_URL, NOTELLM_QDRANT_GRPC_PORT and NOTELLM_QDRANT_API_KEY"
            ) from error
        return cls(client, calls, described, vector_name)

    def of_model(self, vector_name: str) -> "ServerIndex":
        """See `NoteIndex.of_model`."""
        view = copy.copy(self)
        view.vector_name = vector_name
        return view

    async def upsert(self, notes: Sequence[IndexedNote]) -> None:
        """See `NoteIndex.upsert`. All notes travel in one request."""
        await self._upsert(notes, not_newer_than)

    async def get(self, ids: Sequence[str], *, with_vectors: bool = False) -> dict[str, IndexedNote]:
        """See `NoteIndex.get`."""
        points = [point_id(note_id) for note_id in ids]
        wanted = [self.vector_name] if with_vectors else False
        records = await self._calls.repeatable(
            lambda: self._client.retrieve(self._collection, points, with_payload=True, with_vectors=wanted)
        )
        return {note.id: note for note in self._notes(records)}

    async def search(
        self, vector: Vector, *, where: NoteFilter, limit: int, offset: int = 0, min_score: float | None = None,
        with_vectors: bool = False,
    ) -> list[ScoredNote]:  # fmt: skip
        """See `NoteIndex.search`."""
        response = await self._calls.repeatable(
            lambda: self._client.query_points(
                self._collection,
                query=vector.tolist(),
                using=self.vector_name,
                query_filter=matching(where),
                search_params=_SEARCH,
                limit=limit,
                offset=offset,
                score_threshold=score_threshold(min_score),
                with_payload=True,
                with_vectors=[self.vector_name] if with_vectors else False,
            )
        )
        return [ScoredNote(point.payload or {}, point.score, self._vector_of(point.vector)) for point in response.points]

    async def delete(self, ids: Sequence[str]) -> None:
        """See `NoteIndex.delete`. A note that someone else writes in between keeps what is newer than what was seen."""
        points = [point_id(note_id) for note_id in ids]
        records = await self._calls.repeatable(
            lambda: self._client.retrieve(self._collection, points, with_payload=["id", "version", DELETED])
        )
        stored = [(record.id, record.payload or {}) for record in records]
        unversioned: list[models.ExtendedPointId] = [
            point for point, payload in stored if payload.get("version") is None and DELETED not in payload
        ]
        await self._write(
            [
                *(
                    [models.DeleteOperation(delete=models.FilterSelector(filter=unnumbered(unversioned)))]
                    if unversioned
                    else []
                ),
                *(_tombstone(payload) for _, payload in stored if payload.get("version") is not None),
            ]
        )

    async def scroll(self, *, start: str | None = None, limit: int, lacking: bool = False) -> NotePage:
        """See `NoteIndex.scroll`."""
        records, following = await self._calls.repeatable(
            lambda: self._client.scroll(
                self._collection, offset=start, limit=limit, with_payload=True,
                scroll_filter=lacking_vector(self.vector_name) if lacking else None,
                with_vectors=False if lacking else [self.vector_name],
            )
        )  # fmt: skip
        deleted = tombstones_among(record.payload or {} for record in records)
        return NotePage(self._notes(records), str(following) if following is not None else None, deleted)

    async def restore(self, notes: Sequence[IndexedNote]) -> None:
        """See `NoteIndex.restore`."""
        await self._upsert(notes, older_than)

    async def deleted(self, ids: Sequence[str]) -> dict[str, int]:
        """See `NoteIndex.deleted`."""
        points = [point_id(note_id) for note_id in ids]
        records = await self._calls.repeatable(
            lambda: self._client.retrieve(self._collection, points, with_payload=["id", DELETED])
        )
        return {left.id: left.version for left in tombstones_among(record.payload or {} for record in records)}

    async def bury(self, tombstones: Sequence[Tombstone]) -> None:
        """See `NoteIndex.bury`."""
        await self._write([_burial(left, buried_by(left.version)) for left in tombstones])

    async def count(self, *, lacking: bool = False) -> int:
        """See `NoteIndex.count`. The server's estimate, off by little while it optimises: to be exact it would list every id."""
        counted = without_vector(self.vector_name) if lacking else None
        return max(0, await self._count(counted) - await self._count(tombstones()))

    async def fill(self, notes: Sequence[IndexedNote]) -> None:
        """See `NoteIndex.fill`. Of a note that is deleted meanwhile the server says so, and leaves the notes after it: fill again."""
        stored = await self.get([note.id for note in notes])
        unchanged = [note for note in notes if note.id in stored and _same_text(note, stored[note.id])]
        await self._write(
            [
                models.UpdateVectorsOperation(
                    update_vectors=models.UpdateVectors(
                        points=[models.PointVectors(id=point_id(note.id), vector={self.vector_name: note.vector.tolist()})],
                        update_filter=of_text(note.payload["content_hash"]),
                    )
                )
                for note in unchanged
                if note.vector is not None
            ]
        )

    async def describe(self) -> Description:
        """See `NoteIndex.describe`."""
        return await self._description.read(self.vector_name)

    async def describe_as(self, description: Description) -> None:
        """See `NoteIndex.describe_as`."""
        await self._description.write(description)

    async def drop(self, vector_name: str) -> None:
        """See `NoteIndex.drop`."""
        await self._description.drop(vector_name)

    def state(self) -> IndexState:
        """See `NoteIndex.state`."""
        return IndexState(left_alone={"qdrant": self._calls.left_alone})

    def size_warning(self, count: int, limit: int) -> str | None:
        """See `NoteIndex.size_warning`. A server builds its graphs itself."""
        return None

    async def close(self) -> None:
        """See `NoteIndex.close`."""
        await self._client.close()

    async def _write(self, operations: Sequence[models.UpdateOperation]) -> None:
        if operations:  # an empty request is refused
            await self._calls.once(lambda: self._write_once(operations))

    async def _write_once(self, operations: Sequence[models.UpdateOperation]) -> None:
        for result in await self._client.batch_update_points(self._collection, operations, wait=True):
            # Without an error, the server may say that it has noted a write down and not done it yet.
            if result.status is not models.UpdateStatus.COMPLETED:
                raise NoAnswer(f"the Qdrant server has not done the write in time ({result.status})")

    async def _upsert(self, notes: Sequence[IndexedNote], replaced: Callable[[int | None], models.Filter | None]) -> None:
        await self._write(
            [
                models.UpsertOperation(
                    upsert=models.PointsList(points=[self._point(note) for note in group], update_filter=replaced(version))
                )
                for version, group in by_version(notes).items()
            ]
        )

    async def _count(self, counted: models.Filter | None) -> int:
        return (
            await self._calls.repeatable(lambda: self._client.count(self._collection, count_filter=counted, exact=False))
        ).count

    def _point(self, note: IndexedNote) -> models.PointStruct:
        if note.vector is None:
            raise ValueError(f"note {note.id} has no vector")
        vectors = {self.vector_name: note.vector, **note.others}
        return models.PointStruct(
            id=point_id(note.id), vector={name: vector.tolist() for name, vector in vectors.items()}, payload=note.payload
        )

    def _notes(self, records: Sequence[models.Record]) -> list[IndexedNote]:
        stored = ((record.payload or {}, record.vector) for record in records)
        return [IndexedNote(payload, self._vector_of(vectors)) for payload, vectors in stored if DELETED not in payload]

    def _vector_of(self, vectors: object) -> Vector | None:
        own = vectors.get(self.vector_name) if isinstance(vectors, dict) else None
        return np.asarray(own, dtype=np.float32) if own is not None else None


def _same_text(note: IndexedNote, stored: IndexedNote) -> bool:
    return bool(note.payload["content_hash"] == stored.payload["content_hash"])


def _tombstone(payload: Mapping[str, Any]) -> models.UpsertOperation:
    """What stays of a note with a version, and only of such: a client that does not number notes may store it anew."""
    left = Tombstone(payload["id"], payload["version"])
    return _burial(left, not_newer_than(left.version))


def _burial(left: Tombstone, replaced: models.Filter | None) -> models.UpsertOperation:
    point = models.PointStruct(id=point_id(left.id), vector={}, payload=left.payload)
    return models.UpsertOperation(upsert=models.PointsList(points=[point], update_filter=replaced))
