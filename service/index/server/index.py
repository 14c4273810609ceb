"""`ServerIndex`: a Qdrant server through qdrant-client."""

import copy
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from qdrant_client import AsyncQdrantClient, models

from service.errors import IndexUnavailable, InvalidRequest, StartupError
from service.index.base import (
    Deleted,
    Entry,
    HashtagCounts,
    IndexedNote,
    IndexState,
    NoteFilter,
    NotePage,
    Restored,
    ScoredNote,
    Tombstone,
    Upserted,
    Vector,
)
from service.index.description import Description
from service.index.points import entries, notes_among, point_id, score_threshold, tombstones_among, vector_of
from service.index.server.calls import ServerCalls, VectorsGone, reason
from service.index.server.collection import Collection, CollectionSettings
from service.index.server.filters import lacking_vector, matching, tombstones, without_vector
from service.index.server.writes import ServerWriter

Result = TypeVar("Result")

TIMEOUT_SECONDS = 10
# Up to this many points, notes are counted exactly.
EXACT_UP_TO = 1_000_000
# If vectors are quantised, the quantised copy selects twice as many notes as requested, and the vectors themselves rank them.
_SEARCH = models.SearchParams(quantization=models.QuantizationSearchParams(rescore=True, oversampling=2.0))


class ServerIndex:
    """A collection with one named vector per model. Make an instance with `ServerIndex.open`.

    Only reads are retried. A write may have been done even if its answer was lost. Before a retry, another client may have seen the note,
    and successfully deleted or replaced it. The retry would then bring back the deleted note, or the older text of a note without a
    version. So a failed write is reported to the client, which knows whether it still wants the write.

    Args:
        client: uses gRPC or local mode.
        calls: makes the calls.
        collection: the collection on the server.
        vector_name: name of the model's vectors.
    """

    name = "qdrant-server"
    shared = True
    exact_up_to: int | None = EXACT_UP_TO

    def __init__(self, client: AsyncQdrantClient, calls: ServerCalls, collection: Collection, vector_name: str) -> None:
        self.vector_name = vector_name
        self._client = client
        self._calls = calls
        self._collection = collection.name
        self._description = collection
        self._writer = ServerWriter(client, calls, collection.name)

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

    async def upsert(self, notes: Sequence[IndexedNote], *, seen: Mapping[str, Entry] | None = None) -> list[Upserted]:
        """See `NoteIndex.upsert`."""
        return await self._writer.upsert(notes, self.vector_name, seen)

    async def look(self, ids: Sequence[str], *, with_vectors: bool = False) -> dict[str, Entry]:
        """See `NoteIndex.look`."""
        points = [point_id(note_id) for note_id in ids]
        records = await self._with_vectors(
            with_vectors, lambda wanted: self._client.retrieve(self._collection, points, with_payload=True, with_vectors=wanted)
        )
        return {entry.id: entry for entry in entries(records, self.vector_name)}

    async def get(self, ids: Sequence[str], *, with_vectors: bool = False) -> dict[str, IndexedNote]:
        """See `NoteIndex.get`."""
        found = await self.look(ids, with_vectors=with_vectors)
        return {note.id: note for note in notes_among(found.values())}

    async def search(
        self, vector: Vector, *, where: NoteFilter, limit: int, offset: int = 0, min_score: float | None = None,
        with_vectors: bool = False,
    ) -> list[ScoredNote]:  # fmt: skip
        """See `NoteIndex.search`."""
        try:
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
        except VectorsGone as error:
            raise InvalidRequest.of("model", "another_model", error.detail) from error
        return [ScoredNote(point.payload or {}, point.score, vector_of(point, self.vector_name)) for point in response.points]

    async def delete(self, ids: Sequence[str]) -> list[Deleted]:
        """See `NoteIndex.delete`."""
        return await self._writer.delete(ids)

    async def scroll(self, *, start: str | None = None, limit: int, lacking: bool = False) -> NotePage:
        """See `NoteIndex.scroll`."""
        records, following = await self._with_vectors(
            not lacking,
            lambda wanted: self._client.scroll(
                self._collection, offset=start, limit=limit, with_payload=True, with_vectors=wanted,
                scroll_filter=lacking_vector(self.vector_name) if lacking else None,
            ),
        )  # fmt: skip
        found = entries(records, self.vector_name)
        return NotePage(notes_among(found), str(following) if following is not None else None, tombstones_among(found))

    async def restore(self, notes: Sequence[IndexedNote]) -> list[Restored]:
        """See `NoteIndex.restore`."""
        return await self._writer.restore(notes, self.vector_name)

    async def bury(self, tombstones: Sequence[Tombstone]) -> list[Restored]:
        """See `NoteIndex.bury`."""
        return await self._writer.bury(tombstones)

    async def count(self, *, lacking: bool = False) -> int:
        """See `NoteIndex.count`. The server's estimates are far off for few notes, and an exact count of many lists every id."""
        counted = without_vector(self.vector_name) if lacking else None
        exact = await self._count(None, exact=False) <= EXACT_UP_TO
        return max(0, await self._count(counted, exact=exact) - await self._count(tombstones(), exact=True))

    async def hashtags(self, limit: int, *, created_after: datetime | None = None) -> HashtagCounts:
        """See `NoteIndex.hashtags`."""
        recent = matching(NoteFilter(created_after=created_after)) if created_after is not None else None
        counted = await self._calls.repeatable(
            lambda: self._client.facet(self._collection, "hashtags", facet_filter=recent, limit=limit, exact=False)
        )
        notes = await self._count_recent(recent) if recent is not None else await self.count()
        return HashtagCounts(notes, {str(hit.value): hit.count for hit in counted.hits})

    async def fill(self, notes: Sequence[IndexedNote]) -> None:
        """See `NoteIndex.fill`."""
        await self._writer.fill(notes, self.vector_name)

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

    async def _count_recent(self, recent: models.Filter) -> int:
        about = await self._count(recent, exact=False)
        return about if about > EXACT_UP_TO else await self._count(recent, exact=True)

    async def _count(self, counted: models.Filter | None, *, exact: bool) -> int:
        return (
            await self._calls.repeatable(lambda: self._client.count(self._collection, count_filter=counted, exact=exact))
        ).count

    async def _with_vectors(self, wanted: bool, read: Callable[[list[str] | bool], Awaitable[Result]]) -> Result:
        """Reads points, with this model's vectors if wanted. If the collection has lost them, the points come without vectors."""
        try:
            return await self._calls.repeatable(lambda: read([self.vector_name] if wanted else False))
        except VectorsGone:
            return await self._calls.repeatable(lambda: read(False))
