"""`EdgeIndex`: Qdrant Edge, the server's own core in this process. The embedded default: an exact scan, or a graph (`optimize_index`)."""

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import numpy as np
import qdrant_edge as edge

from service.errors import IndexUnavailable, ServiceError, StartupError
from service.index.base import IndexedNote, NoteFilter, NotePage, ScoredNote, Vector, by_version, point_id
from service.index.disk import DiskReserve
from service.index.integrity import Ledger, check_integrity, count, failed
from service.index.swap import recover, tidy

Result = TypeVar("Result")
_FORMAT = 1
# Of a search in a graph that `optimize_index` has built: so many candidates, and a way round the notes that a filter leaves out (ACORN)
# where it leaves less than that share. What is in no graph is scanned.
_SEARCH = edge.SearchParams(hnsw_ef=512, acorn=edge.AcornSearchParams(enable=True, max_selectivity=0.4))
# Without them a filter reads the payload of every note, which takes forty times as long as the scan.
_PAYLOAD_INDEXES = {
    "category": edge.PayloadSchemaType.Keyword,
    "hashtag_keys": edge.PayloadSchemaType.Keyword,
    "created_at": edge.PayloadSchemaType.Datetime,
}


class EdgeIndex:
    """The index in a directory. One process writes it; every write is flushed to disk before it counts as done.

    Make one with `EdgeIndex.open`. Calls run in one thread of their own: the library holds the interpreter lock, so they are
    short (an exact scan), and never two at a time.

    Attributes:
        indexed: notes that were in a graph when it was opened: searches do not scan them.
    """

    name = "qdrant-edge"

    def __init__(self, shard: edge.EdgeShard, vector_name: str, ledger: Ledger, reserve: DiskReserve) -> None:
        self._shard = shard
        self._vector_name = vector_name
        self._ledger = ledger
        self._reserve = reserve
        self.indexed = shard.info().indexed_vectors_count
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="index")

    @classmethod
    def open(cls, directory: Path, *, vector_name: str, dimensions: int, min_free_bytes: int = 0) -> "EdgeIndex":
        """Opens the index of a directory, or makes it.

        Args:
            directory: its place.
            vector_name: names the model.
            dimensions: of its vectors.
            min_free_bytes: of the disk; with less, writes raise `StorageFull`.

        Raises:
            StartupError: another process has it open, it holds another model's vectors, it has lost notes, or it cannot be read or
                written.
        """
        try:
            directory.mkdir(parents=True, exist_ok=True)
            reserve = DiskReserve(directory, min_free_bytes)
            reserve.check_opening()
            _check_description(directory / "index.json", vector_name, dimensions)
            recover(directory)
            shard = _load(directory / "shard", vector_name, dimensions)
            tidy(directory)
            ledger = Ledger(directory / "notes.ledger")
        except OSError as error:
            raise StartupError(
                f"the index directory {directory} cannot be used: {error}. Set NOTELLM_DATA_DIR to another"
            ) from error
        with _refused(directory):
            check_integrity(shard, vector_name, directory, ledger)
        return cls(shard, vector_name, ledger, reserve)

    async def upsert(self, notes: Sequence[IndexedNote]) -> None:
        """See `NoteIndex.upsert`."""
        await self._call(lambda: self._upsert(notes, _not_newer_than))

    async def get(self, ids: Sequence[str], *, with_vectors: bool = False) -> dict[str, IndexedNote]:
        """See `NoteIndex.get`."""
        points: list[edge.PointId] = [UUID(point_id(note_id)) for note_id in ids]
        records = await self._call(lambda: self._shard.retrieve(points, True, with_vectors))
        found = (IndexedNote(record.payload or {}, self._vector_of(record.vector)) for record in records)
        return {note.id: note for note in found}

    async def search(
        self, vector: Vector, *, where: NoteFilter, limit: int, offset: int = 0, min_score: float | None = None,
        with_vectors: bool = False,
    ) -> list[ScoredNote]:  # fmt: skip
        """See `NoteIndex.search`."""
        request = edge.QueryRequest(
            limit=limit,
            offset=offset,
            query=edge.Query.Nearest(vector.tolist(), using=self._vector_name),
            filter=_filter(where),
            score_threshold=min_score,
            with_payload=True,
            with_vector=[self._vector_name] if with_vectors else False,
            params=_SEARCH,
        )
        return await self._call(lambda: list(map(self._scored, self._shard.query(request))))

    async def delete(self, ids: Sequence[str]) -> None:
        """See `NoteIndex.delete`."""
        points: list[edge.PointId] = [UUID(point_id(note_id)) for note_id in ids]
        await self._call(lambda: self._delete(points))

    async def scroll(self, *, start: str | None = None, limit: int) -> NotePage:
        """See `NoteIndex.scroll`."""
        request = edge.ScrollRequest(offset=UUID(start) if start else None, limit=limit, with_payload=True, with_vector=True)
        records, following = await self._call(lambda: self._shard.scroll(request))
        notes = [IndexedNote(record.payload or {}, self._vector_of(record.vector)) for record in records]
        return NotePage(notes, str(following) if following is not None else None)

    async def restore(self, notes: Sequence[IndexedNote]) -> None:
        """See `NoteIndex.restore`."""
        await self._call(lambda: self._upsert(notes, _older_than))

    async def count(self) -> int:
        """See `NoteIndex.count`."""
        return await self._call(lambda: count(self._shard))

    async def close(self) -> None:
        """See `NoteIndex.close`."""
        await self._call(self._shard.close)
        self._executor.shutdown()
        self._ledger.close()

    async def _call(self, function: Callable[[], Result]) -> Result:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, function)
        except ServiceError:
            raise
        except BaseException as error:
            if not failed(error):
                raise
            raise IndexUnavailable(f"the embedded index failed: {error}") from error

    def _upsert(self, notes: Sequence[IndexedNote], replaced: Callable[[int | None], edge.Filter | None]) -> None:
        operations = []
        for version, group in by_version(notes).items():
            points = [self._point(note) for note in group]
            operations.append(edge.UpdateOperation.upsert_points(points, condition=replaced(version)))
        self._write(operations)

    def _delete(self, points: "list[edge.PointId]") -> None:
        self._reserve.check()
        self._ledger.write(max(0, count(self._shard) - len(points)))
        self._write([edge.UpdateOperation.delete_points(points)])

    def _write(self, operations: Sequence[edge.UpdateOperation]) -> None:
        self._reserve.check()
        for operation in operations:
            self._shard.update(operation)
        self._shard.flush()  # the write-ahead log alone is not synced to disk
        self._ledger.write(count(self._shard))

    def _point(self, note: IndexedNote) -> edge.Point:
        if note.vector is None:
            raise ValueError(f"note {note.id} has no vector")
        return edge.Point(UUID(point_id(note.id)), {self._vector_name: note.vector.tolist()}, note.payload)

    def _scored(self, point: edge.ScoredPoint) -> ScoredNote:
        return ScoredNote(point.payload or {}, point.score, self._vector_of(point.vector))

    def _vector_of(self, vectors: object) -> Vector | None:
        return np.asarray(vectors[self._vector_name], dtype=np.float32) if isinstance(vectors, dict) and vectors else None


def _load(path: Path, vector_name: str, dimensions: int) -> edge.EdgeShard:
    if not path.exists():
        config = edge.EdgeConfig(
            vectors={vector_name: edge.EdgeVectorParams(size=dimensions, distance=edge.Distance.Cosine)},
            max_search_threads=1,
        )
        partial = path.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        edge.EdgeShard.create(str(partial), config).close()
        partial.rename(path)
    with _refused(path):
        return _with_payload_indexes(edge.EdgeShard.load(str(path)))


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    """Turns what the library raises into a `StartupError`."""
    try:
        yield
    except StartupError:
        raise
    except BaseException as error:
        if not failed(error):
            raise
        if "lock" in str(error).lower():
            raise StartupError(
                f"another process has the index {path} open: stop it, or set NOTELLM_DATA_DIR to another directory"
            ) from error
        remedy = "Free disk space" if "space" in str(error).lower() else "Restore it from a backup, or move it away"
        raise StartupError(f"the index {path} cannot be opened: {error}. {remedy}") from error


def _with_payload_indexes(shard: edge.EdgeShard) -> edge.EdgeShard:
    missing = _PAYLOAD_INDEXES.keys() - shard.info().payload_schema.keys()
    for field in sorted(missing):
        shard.update(edge.UpdateOperation.create_field_index(field, _PAYLOAD_INDEXES[field]))
    if missing:
        shard.flush()
    return shard


def _check_description(path: Path, vector_name: str, dimensions: int) -> None:
    """Compares the model that the index was made for with the one that is served; notes it down in a new index."""
    description = {"format": _FORMAT, "vector": vector_name, "dimensions": dimensions}
    if not path.exists():
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(description) + "\n", encoding="utf-8")
        partial.replace(path)
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StartupError(f"{path} is not readable: {error}. Restore it from a backup, or move the index away") from error
    if found != description:
        raise StartupError(
            f"the index {path.parent} holds vectors of {found.get('vector')} and the checkpoint is {vector_name}: serve the checkpoint "
            "it was made with, or set NOTELLM_DATA_DIR to an empty directory and embed the notes again"
        )


def _filter(where: NoteFilter) -> edge.Filter:
    must: list[edge.ConditionType] = []
    if where.category is not None:
        must.append(edge.FieldCondition("category", match=edge.MatchValue(where.category)))
    if where.hashtag_key is not None:
        must.append(edge.FieldCondition("hashtag_keys", match=edge.MatchValue(where.hashtag_key)))
    if where.created_after is not None:
        must.append(edge.FieldCondition("created_at", range=edge.RangeDateTime(gt=where.created_after.isoformat())))
    excluded: set[edge.PointId] = {UUID(point_id(note_id)) for note_id in where.exclude}
    return edge.Filter(must=must, must_not=[edge.HasIdCondition(excluded)] if excluded else [])


def _not_newer_than(version: int | None) -> edge.Filter | None:
    if version is None:
        return None
    return edge.Filter(must_not=[edge.FieldCondition("version", range=edge.RangeFloat(gt=float(version)))])


def _older_than(version: int | None) -> edge.Filter:
    """Versions start at 0: of an unversioned note nothing that is stored is known to be older."""
    return edge.Filter(must=[edge.FieldCondition("version", range=edge.RangeFloat(lt=float(version or 0)))])
