"""`EdgeIndex`: the default index, Qdrant Edge in this process. It scans all vectors, or uses a graph that `optimize_index` built."""

import asyncio
import copy
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import qdrant_edge as edge

from service.durable_files import make_directory
from service.errors import IndexUnavailable, ServiceError, StartupError
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
from service.index.edge.disk import DiskReserve
from service.index.edge.durability import Durability
from service.index.edge.files import DESCRIPTION, LEDGER, DescriptionFile, load_shard, refused
from service.index.edge.filters import lacking_vector, matching, tombstones, without_vector
from service.index.edge.integrity import Ledger, check_integrity, count, failed
from service.index.edge.remembered import Remembered
from service.index.edge.search import search_params
from service.index.edge.swap import SHARD, recover, tidy
from service.index.edge.vectors import EdgeVectors
from service.index.edge.writes import EdgeWriter
from service.index.points import entries, notes_among, point_id, score_threshold, tombstones_among, vector_of

Result = TypeVar("Result")
# More notes than this are not counted exactly.
_EXACT_UP_TO = 10_000


class EdgeIndex:
    """An index in a directory that one process has open. Every write is flushed to disk before it returns.

    Make an instance with `EdgeIndex.open`. All calls run one at a time in a separate thread. The library holds the interpreter lock
    during a call, so calls must be short; an exact scan is.
    """

    name = "qdrant-edge"
    shared = False
    exact_up_to: int | None = None

    def __init__(self, vectors: EdgeVectors, vector_name: str, ledger: Ledger, reserve: DiskReserve) -> None:
        self.vector_name = vector_name
        self._shard = vectors.shard
        self._vectors = vectors
        self._writer = EdgeWriter(vectors, Durability(vectors.shard, ledger), reserve)
        self._reserve = reserve
        self._tombstones = Remembered(self._count_tombstones)
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="index")

    @classmethod
    def open(cls, directory: Path, *, vector_name: str, dimensions: int, min_free_bytes: int = 0) -> "EdgeIndex":
        """Opens the index in a directory, or makes it.

        Args:
            directory: the directory of the index.
            vector_name: name of the model's vectors.
            dimensions: dimensions of these vectors.
            min_free_bytes: if less disk space is free, writes raise `StorageFull`.

        Raises:
            StartupError: another process has it open, it holds another model's vectors, it has lost notes, or it cannot be read or
                written.
        """
        try:
            make_directory(directory)
            reserve = DiskReserve(directory, min_free_bytes)
            reserve.check_opening()
            file = DescriptionFile(directory / DESCRIPTION)
            description = file.admit(vector_name, dimensions)
            recover(directory)
            shard = load_shard(directory / SHARD, vector_name, dimensions)
            ledger = Ledger(directory / LEDGER)
        except OSError as error:
            raise StartupError(
                f"the index directory {directory} cannot be used: {error}. Set NOTELLM_DATA_DIR to another"
            ) from error
        with refused(directory):
            vectors = EdgeVectors(shard, file, description)
            check_integrity(shard, directory, ledger)
        tidy(directory)
        return cls(vectors, vector_name, ledger, reserve)

    @property
    def indexed(self) -> int:
        """Number of notes in the graph, which searches do not scan."""
        return self._vectors.indexed

    def of_model(self, vector_name: str) -> "EdgeIndex":
        """See `NoteIndex.of_model`."""
        view = copy.copy(self)
        view.vector_name = vector_name
        return view

    async def upsert(self, notes: Sequence[IndexedNote], *, seen: Mapping[str, Entry] | None = None) -> list[Upserted]:
        """See `NoteIndex.upsert`. It ignores `seen` and looks again, in the same step as the write."""
        return await self._call(lambda: self._writer.upsert(notes, self.vector_name))

    async def look(self, ids: Sequence[str], *, with_vectors: bool = False) -> dict[str, Entry]:
        """See `NoteIndex.look`."""
        points: list[edge.PointId] = [UUID(point_id(note_id)) for note_id in ids]
        records = await self._call(lambda: self._writer.durable.retrieve(points, with_vectors=with_vectors))
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
        wanted = matching(where)

        def search() -> list[ScoredNote]:
            self._vectors.check_held(self.vector_name)
            request = edge.QueryRequest(
                limit=limit,
                offset=offset,
                query=edge.Query.Nearest(vector.tolist(), using=self.vector_name),
                filter=wanted,
                score_threshold=score_threshold(min_score),
                with_payload=True,
                with_vector=[self.vector_name] if with_vectors else False,
                params=search_params(self._shard, wanted, self.indexed),
            )
            return list(map(self._scored, self._shard.query(request)))

        return await self._call(search)

    async def delete(self, ids: Sequence[str]) -> list[Deleted]:
        """See `NoteIndex.delete`."""
        return await self._call(lambda: self._writer.delete(ids))

    async def scroll(self, *, start: str | None = None, limit: int, lacking: bool = False) -> NotePage:
        """See `NoteIndex.scroll`."""
        request = edge.ScrollRequest(
            offset=UUID(start) if start else None,
            limit=limit,
            filter=lacking_vector(self.vector_name) if lacking else None,
            with_payload=True,
            with_vector=not lacking,
        )
        records, following = await self._call(lambda: self._shard.scroll(request))
        found = entries(records, self.vector_name)
        return NotePage(notes_among(found), str(following) if following is not None else None, tombstones_among(found))

    async def restore(self, notes: Sequence[IndexedNote]) -> list[Restored]:
        """See `NoteIndex.restore`."""
        return await self._call(lambda: self._writer.restore(notes, self.vector_name))

    async def bury(self, tombstones: Sequence[Tombstone]) -> list[Restored]:
        """See `NoteIndex.bury`."""
        return await self._call(lambda: self._writer.bury(tombstones))

    async def count(self, *, lacking: bool = False) -> int:
        """See `NoteIndex.count`."""
        return await self._call(self._count_lacking if lacking else self._count)

    async def hashtags(self, limit: int, *, created_after: datetime | None = None) -> HashtagCounts:
        """See `NoteIndex.hashtags`."""
        # Exact numbers take five times as long: half a second for 200,000 notes, in which nothing else runs.
        recent = matching(NoteFilter(created_after=created_after)) if created_after is not None else None
        request = edge.FacetRequest("hashtags", limit=limit, exact=False, filter=recent)
        notes = await self._call(lambda: self._count_matching(recent) if recent is not None else self._count())
        hits = (await self._call(lambda: self._shard.facet(request))).hits
        return HashtagCounts(notes, {str(hit.value): hit.count for hit in hits})

    async def fill(self, notes: Sequence[IndexedNote]) -> None:
        """See `NoteIndex.fill`."""
        await self._call(lambda: self._writer.fill(notes, self.vector_name))

    async def describe(self) -> Description:
        """See `NoteIndex.describe`."""
        return await self._call(lambda: self._vectors.description)

    async def describe_as(self, description: Description) -> None:
        """See `NoteIndex.describe_as`."""
        await self._call(lambda: self._describe_as(description))

    async def drop(self, vector_name: str) -> None:
        """See `NoteIndex.drop`."""
        await self._call(lambda: self._vectors.drop(vector_name))

    def state(self) -> IndexState:
        """See `NoteIndex.state`."""
        try:
            free = self._reserve.free_bytes()
        except OSError:  # writes report it; metrics must still work
            free = None
        return IndexState(free_bytes=free, reserved_bytes=self._reserve.least_bytes)

    def size_warning(self, count: int, limit: int) -> str | None:
        """See `NoteIndex.size_warning`. Without a graph, each search scans every vector and blocks the interpreter meanwhile."""
        scanned = count - self.indexed
        if scanned <= limit:
            return None
        where = " outside its graph" if self.indexed else ""
        return (
            f"the embedded index holds {scanned:,} notes{where}, more than NOTELLM_EMBEDDED_INDEX_NOTES={limit:,}: each search scans all "
            "of them and blocks other requests meanwhile. Stop the service and run notellm-serve optimize, or run a Qdrant server, set "
            "NOTELLM_QDRANT_URL, and move the notes there with notellm-serve export and import"
        )

    async def close(self) -> None:
        """See `NoteIndex.close`."""
        await self._call(self._shard.close)
        self._executor.shutdown()
        self._writer.durable.close()

    async def _call(self, function: Callable[[], Result]) -> Result:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, function)
        except (ServiceError, StartupError):
            raise
        except BaseException as error:
            if not failed(error):
                raise
            raise IndexUnavailable(f"the embedded index failed: {error}") from error

    def _describe_as(self, description: Description) -> None:
        self._reserve.check()
        self._vectors.describe_as(description)

    def _count(self) -> int:
        return count(self._shard) - self._tombstones.value()

    def _count_matching(self, wanted: edge.Filter) -> int:
        """Exact for few notes only, because an exact count reads each of them and blocks the whole process meanwhile."""
        about = self._shard.count(edge.CountRequest(exact=False, filter=wanted))
        return about if about > _EXACT_UP_TO else self._shard.count(edge.CountRequest(exact=True, filter=wanted))

    def _count_lacking(self) -> int:
        without = self._shard.count(edge.CountRequest(exact=False, filter=without_vector(self.vector_name)))
        return max(0, without - self._tombstones.value())

    def _count_tombstones(self) -> int:
        """Counts the tombstones exactly. This reads every tombstone and blocks the whole process meanwhile."""
        return self._shard.count(edge.CountRequest(exact=True, filter=tombstones()))

    def _scored(self, point: edge.ScoredPoint) -> ScoredNote:
        return ScoredNote(point.payload or {}, point.score, vector_of(point, self.vector_name))
