"""`ServerIndex`: a Qdrant server through qdrant-client."""

from collections.abc import Callable, Sequence

import numpy as np
from qdrant_client import AsyncQdrantClient, models

from service.errors import IndexUnavailable, StartupError
from service.index.base import IndexedNote, IndexState, NoteFilter, NotePage, ScoredNote, Vector, by_version, point_id
from service.index.calls import NoAnswer, ServerCalls, reason
from service.index.collection import CollectionSettings, prepare

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
        collection: its name.
        vector_name: of the model's vectors.
        timeout_seconds: longest wait for an answer, over all attempts.
    """

    name = "qdrant-server"

    def __init__(
        self, client: AsyncQdrantClient, collection: str, vector_name: str, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self._client = client
        self._collection = collection
        self._vector_name = vector_name
        self._calls = ServerCalls(timeout_seconds)

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
        index = cls(client, collection, vector_name, timeout_seconds)
        try:
            await prepare(client, index._calls, collection, (vector_name, dimensions), settings)
        except IndexUnavailable as error:
            raise StartupError(
                f"{error.detail}. {reason(error.__cause__)} Check NOTELLM_QDRANT_URL, NOTELLM_QDRANT_GRPC_PORT and NOTELLM_QDRANT_API_KEY"
            ) from error
        return index

    async def upsert(self, notes: Sequence[IndexedNote]) -> None:
        """See `NoteIndex.upsert`. All notes travel in one request."""
        await self._upsert(notes, _not_newer_than)

    async def get(self, ids: Sequence[str], *, with_vectors: bool = False) -> dict[str, IndexedNote]:
        """See `NoteIndex.get`."""
        points = [point_id(note_id) for note_id in ids]
        wanted = [self._vector_name] if with_vectors else False
        records = await self._calls.repeatable(
            lambda: self._client.retrieve(self._collection, points, with_payload=True, with_vectors=wanted)
        )
        found = (IndexedNote(record.payload or {}, self._vector_of(record.vector)) for record in records)
        return {note.id: note for note in found}

    async def search(
        self, vector: Vector, *, where: NoteFilter, limit: int, offset: int = 0, min_score: float | None = None,
        with_vectors: bool = False,
    ) -> list[ScoredNote]:  # fmt: skip
        """See `NoteIndex.search`."""
        response = await self._calls.repeatable(
            lambda: self._client.query_points(
                self._collection,
                query=vector.tolist(),
                using=self._vector_name,
                query_filter=_filter(where),
                search_params=_SEARCH,
                limit=limit,
                offset=offset,
                score_threshold=min_score,
                with_payload=True,
                with_vectors=[self._vector_name] if with_vectors else False,
            )
        )
        return [ScoredNote(point.payload or {}, point.score, self._vector_of(point.vector)) for point in response.points]

    async def delete(self, ids: Sequence[str]) -> None:
        """See `NoteIndex.delete`."""
        points: list[models.ExtendedPointId] = [point_id(note_id) for note_id in ids]
        await self._write([models.DeleteOperation(delete=models.PointIdsList(points=points))] if points else [])

    async def scroll(self, *, start: str | None = None, limit: int) -> NotePage:
        """See `NoteIndex.scroll`."""
        records, following = await self._calls.repeatable(
            lambda: self._client.scroll(
                self._collection, offset=start, limit=limit, with_payload=True, with_vectors=[self._vector_name]
            )
        )
        notes = [IndexedNote(record.payload or {}, self._vector_of(record.vector)) for record in records]
        return NotePage(notes, str(following) if following is not None else None)

    async def restore(self, notes: Sequence[IndexedNote]) -> None:
        """See `NoteIndex.restore`."""
        await self._upsert(notes, _older_than)

    async def count(self) -> int:
        """See `NoteIndex.count`. The server's estimate, off by little while it optimises: to be exact it would list every id."""
        return (await self._calls.repeatable(lambda: self._client.count(self._collection, exact=False))).count

    def state(self) -> IndexState:
        """See `NoteIndex.state`."""
        return IndexState(left_alone=self._calls.left_alone)

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

    def _point(self, note: IndexedNote) -> models.PointStruct:
        if note.vector is None:
            raise ValueError(f"note {note.id} has no vector")
        return models.PointStruct(id=point_id(note.id), vector={self._vector_name: note.vector.tolist()}, payload=note.payload)

    def _vector_of(self, vectors: object) -> Vector | None:
        return np.asarray(vectors[self._vector_name], dtype=np.float32) if isinstance(vectors, dict) and vectors else None


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


def _older_than(version: int | None) -> models.Filter:
    """Versions start at 0: of an unversioned note nothing that is stored is known to be older."""
    return models.Filter(must=[models.FieldCondition(key="version", range=models.Range(lt=float(version or 0)))])
