"""`ServerIndex`: a Qdrant server through qdrant-client."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc
import httpx
import numpy as np
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException

from service.errors import IndexUnavailable, StartupError
from service.index.base import IndexedNote, NoteFilter, ScoredNote, Vector, by_version, point_id

_PAYLOAD_INDEXES = {
    "category": models.PayloadSchemaType.KEYWORD,
    "hashtag_keys": models.PayloadSchemaType.KEYWORD,
    "created_at": models.PayloadSchemaType.DATETIME,
}


class ServerIndex:
    """A collection with one named vector a model. Writes wait until they are applied. Make one with `ServerIndex.open`."""

    name = "qdrant-server"

    def __init__(self, client: AsyncQdrantClient, collection: str, vector_name: str) -> None:
        self._client = client
        self._collection = collection
        self._vector_name = vector_name

    @classmethod
    async def open(cls, client: AsyncQdrantClient, *, collection: str, vector_name: str, dimensions: int) -> "ServerIndex":
        """Opens the collection, or makes it with its payload indexes.

        Raises:
            StartupError: the server does not answer, or the collection holds another model's vectors.
        """
        index = cls(client, collection, vector_name)
        try:
            async with _translated():
                await index._prepare(dimensions)
        except IndexUnavailable as error:
            raise StartupError(f"{error.detail}. Check NOTELLM_QDRANT_URL and NOTELLM_QDRANT_API_KEY") from error
        return index

    async def upsert(self, notes: Sequence[IndexedNote]) -> None:
        """See `NoteIndex.upsert`."""
        for version, group in by_version(notes).items():
            points = [self._point(note) for note in group]
            async with _translated():
                await self._client.upsert(self._collection, points, wait=True, update_filter=_not_newer_than(version))

    async def get(self, ids: Sequence[str], *, with_vectors: bool = False) -> dict[str, IndexedNote]:
        """See `NoteIndex.get`."""
        wanted = [self._vector_name] if with_vectors else False
        async with _translated():
            records = await self._client.retrieve(
                self._collection, [point_id(note_id) for note_id in ids], with_payload=True, with_vectors=wanted
            )
        found = (IndexedNote(record.payload or {}, self._vector_of(record.vector)) for record in records)
        return {note.id: note for note in found}

    async def search(
        self, vector: Vector, *, where: NoteFilter, limit: int, offset: int = 0, min_score: float | None = None,
        with_vectors: bool = False,
    ) -> list[ScoredNote]:  # fmt: skip
        """See `NoteIndex.search`."""
        async with _translated():
            response = await self._client.query_points(
                self._collection,
                query=vector.tolist(),
                using=self._vector_name,
                query_filter=_filter(where),
                limit=limit,
                offset=offset,
                score_threshold=min_score,
                with_payload=True,
                with_vectors=[self._vector_name] if with_vectors else False,
            )
        return [ScoredNote(point.payload or {}, point.score, self._vector_of(point.vector)) for point in response.points]

    async def delete(self, ids: Sequence[str]) -> None:
        """See `NoteIndex.delete`."""
        points: list[models.ExtendedPointId] = [point_id(note_id) for note_id in ids]
        async with _translated():
            await self._client.delete(self._collection, models.PointIdsList(points=points), wait=True)

    async def count(self) -> int:
        """See `NoteIndex.count`."""
        async with _translated():
            return (await self._client.count(self._collection, exact=True)).count

    async def close(self) -> None:
        """See `NoteIndex.close`."""
        await self._client.close()

    async def _prepare(self, dimensions: int) -> None:
        if not await self._client.collection_exists(self._collection):
            params = models.VectorParams(size=dimensions, distance=models.Distance.COSINE)
            try:
                await self._client.create_collection(self._collection, vectors_config={self._vector_name: params})
            except (ApiException, grpc.RpcError, ValueError):
                if not await self._client.collection_exists(self._collection):  # or another replica was faster
                    raise
        vectors = (await self._client.get_collection(self._collection)).config.params.vectors
        found = vectors if isinstance(vectors, dict) else {}
        if self._vector_name not in found or found[self._vector_name].size != dimensions:
            raise StartupError(
                f"the collection {self._collection} holds vectors of {', '.join(sorted(found)) or 'no named model'} and the checkpoint is "
                f"{self._vector_name}: serve the checkpoint it was made with, or set NOTELLM_QDRANT_COLLECTION to a new name and embed "
                "the notes again"
            )

        for field, schema in _PAYLOAD_INDEXES.items():  # again at every start: the one before may have ended half-way
            await self._client.create_payload_index(self._collection, field, field_schema=schema, wait=True)

    def _point(self, note: IndexedNote) -> models.PointStruct:
        if note.vector is None:
            raise ValueError(f"note {note.id} has no vector")
        return models.PointStruct(id=point_id(note.id), vector={self._vector_name: note.vector.tolist()}, payload=note.payload)

    def _vector_of(self, vectors: object) -> Vector | None:
        return np.asarray(vectors[self._vector_name], dtype=np.float32) if isinstance(vectors, dict) and vectors else None


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    """Turns whatever the client raises when the server is away or refuses into `IndexUnavailable`."""
    try:
        yield
    except (ApiException, QdrantException, grpc.RpcError, httpx.HTTPError, OSError, TimeoutError) as error:
        raise IndexUnavailable(f"the Qdrant server did not do what was asked: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """One line about what the client raised."""
    text = error.details() if isinstance(error, grpc.aio.AioRpcError) else str(error)
    return " ".join((text or type(error).__name__).split())[:300]


def _filter(where: NoteFilter) -> models.Filter:
    must: list[models.Condition] = []
    if where.category is not None:
        must.append(models.FieldCondition(key="category", match=models.MatchValue(value=where.category)))
    if where.hashtag_key is not None:
        must.append(models.FieldCondition(key="hashtag_keys", match=models.MatchValue(value=where.hashtag_key)))
    if where.created_after is not None:
        must.append(models.FieldCondition(key="created_at", range=models.DatetimeRange(gt=where.created_after)))
    excluded: list[models.ExtendedPointId] = [point_id(note_id) for note_id in where.exclude]
    return models.Filter(must=must, must_not=[models.HasIdCondition(has_id=excluded)] if excluded else [])


def _not_newer_than(version: int | None) -> models.Filter | None:
    if version is None:
        return None
    return models.Filter(must_not=[models.FieldCondition(key="version", range=models.Range(gt=float(version)))])
