"""`optimize_index`: builds a graph for an embedded index, so that a search no longer scans every vector.

Qdrant Edge builds the graph in one call that blocks the interpreter until it is done, and does not document what a kill during the call
leaves. So the graph is built on a copy, which replaces the index when it is complete.
"""

import asyncio
import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as edge

from service.errors import CommandError
from service.index.edge.files import DESCRIPTION, LEDGER, DescriptionFile
from service.index.edge.filters import tombstones
from service.index.edge.index import EdgeIndex
from service.index.edge.integrity import Ledger, count, failed
from service.index.edge.swap import OPTIMIZING, SHARD, replace
from service.index.edge.vectors import notes_in_graph
from service.settings import MIB

# Space for the copy, and twice as much for the library while it rewrites the copy: it refuses to begin with less.
COPIES = 3
_PAGE = 10_000
_UNLIMITED_KB = 2**40
_UNCHANGED = "The index is as it was"


@dataclass(frozen=True)
class Graph:
    """Parameters for building a graph (HNSW: Malkov and Yashunin, 2016). docs/results/reliability.md has the recall of the defaults.

    Attributes:
        m: edges per note on each level; on the lowest level twice as many.
        ef_construct: number of candidates from which the edges are chosen.
        threads: number of threads that build the graph; 0 for one per processor.
        full_scan_kib: if the vectors to search (all, or those that a filter leaves) take less space than this, they are scanned. For so
            few vectors, a scan is as fast, and it is exact.
    """

    m: int = 16
    ef_construct: int = 100
    threads: int = 0
    full_scan_kib: int = 10_000

    def config(self, shard: Path) -> edge.EdgeConfig:
        """Returns Qdrant Edge's configuration for a shard, whose vectors do not change.

        There is one graph for all notes, because a search would ask every further graph for the same number of candidates.
        """
        kept = json.loads((shard / "edge_config.json").read_text(encoding="utf-8"))["vectors"]
        cosine = edge.Distance.Cosine
        return edge.EdgeConfig(
            vectors={name: edge.EdgeVectorParams(size=params["size"], distance=cosine) for name, params in kept.items()},
            hnsw_config=edge.HnswIndexConfig(
                m=self.m,
                ef_construct=self.ef_construct,
                full_scan_threshold=self.full_scan_kib,
                max_indexing_threads=self.threads,
            ),
            optimizers=edge.EdgeOptimizersConfig(
                default_segment_number=1, max_segment_size=_UNLIMITED_KB, indexing_threshold=1
            ),
        )


@dataclass(frozen=True)
class Optimized:
    """The result: the number of notes, how many of them are in the graph, and the seconds it took."""

    notes: int
    indexed: int
    seconds: float


def optimize_index(
    directory: Path, *, vector_name: str, dimensions: int, graph: Graph | None = None, min_free_bytes: int = 0
) -> Optimized:
    """Builds the graph of an index that no process has open. If interrupted at any point, the index is either unchanged or optimised.

    Args:
        directory: the directory of the index.
        vector_name: see `EdgeIndex.open`.
        dimensions: see `EdgeIndex.open`.
        graph: parameters of the graph; None for the defaults.
        min_free_bytes: disk space that must stay free.

    Raises:
        StartupError: see `EdgeIndex.open`; also if a service has the index open.
        CommandError: too little disk space is free, or the graph could not be built; the index is unchanged.
    """
    start = time.perf_counter()
    index = EdgeIndex.open(directory, vector_name=vector_name, dimensions=dimensions)
    asyncio.run(index.close())
    with _explained(directory):
        with _opened(directory / SHARD) as served:
            served.flush()
            _check_space(directory, min_free_bytes)
            try:
                _copy(directory / SHARD, directory / OPTIMIZING)
                with _opened(directory / OPTIMIZING, (graph or Graph()).config(directory / SHARD)) as copy:
                    copy.optimize()
                    copy.flush()
                notes, indexed = _check_copy(served, directory)
            except BaseException:
                shutil.rmtree(directory / OPTIMIZING, ignore_errors=True)
                raise
        with _locked(directory / SHARD):
            replace(directory)
    return Optimized(notes, indexed, time.perf_counter() - start)


@contextmanager
def _explained(directory: Path) -> Iterator[None]:
    """Turns errors of the library and the operating system into `CommandError`."""
    try:
        yield
    except CommandError:
        raise
    except BaseException as error:
        if not failed(error):
            raise
        if "lock" in str(error).lower() or isinstance(error, BlockingIOError):
            raise CommandError(
                f"another process has opened the index {directory} meanwhile: stop it first. {_UNCHANGED}"
            ) from error
        raise CommandError(f"the index {directory} could not be optimised: {error}. {_UNCHANGED}") from error


@contextmanager
def _opened(path: Path, config: edge.EdgeConfig | None = None) -> Iterator[edge.EdgeShard]:
    shard = edge.EdgeShard.load(str(path), config)
    try:
        yield shard
    finally:
        shard.close()


@contextmanager
def _locked(shard: Path) -> Iterator[None]:
    """Holds the lock with which Qdrant Edge keeps out a second process. It does not open the shard, which is about to be renamed."""
    log = os.open(shard / "wal", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(log)


def _check_space(directory: Path, min_free_bytes: int) -> None:
    size = sum(file.stat().st_blocks * 512 for file in (directory / SHARD).rglob("*") if file.is_file())
    needed, free = COPIES * size + min_free_bytes, shutil.disk_usage(directory).free
    if free < needed:
        raise CommandError(
            f"the disk of the index {directory} has {free // MIB} MiB free and {needed // MIB} are needed: {COPIES} times the index, and "
            f"NOTELLM_MIN_FREE_DISK_MIB. Free space, or move NOTELLM_DATA_DIR to a larger disk. {_UNCHANGED}"
        )


def _copy(source: Path, target: Path) -> None:
    """Copies a shard with `cp`. Its files are mostly holes, which Python's own copy would fill."""
    command = ["cp", "--archive", "--sparse=always", "--reflink=auto", str(source), str(target)]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if outcome.returncode:
        raise CommandError(f"{source} could not be copied: {outcome.stderr.strip()}. {_UNCHANGED}")


def _check_copy(served: edge.EdgeShard, directory: Path) -> tuple[int, int]:
    """Checks that the copy has the same ids and, on each page, the same first note. Returns the number of notes, total and in the graph."""
    with _opened(directory / OPTIMIZING) as copy:
        points = 0
        for before, after in zip_longest(_pages(served), _pages(copy)):
            if before != after or not _same(served, copy, before[:1]):
                raise CommandError(f"the graph of {directory} does not hold the notes that the index holds. {_UNCHANGED}")
            points += len(before)
        ledger = Ledger(directory / LEDGER)
        if count(copy) < ledger.least():  # the index counted a note twice, which had two copies
            ledger.write(count(copy))
        ledger.close()
        deleted = copy.count(edge.CountRequest(exact=True, filter=tombstones()))
        return points - deleted, notes_in_graph(copy, DescriptionFile(directory / DESCRIPTION).read())


def _pages(shard: edge.EdgeShard) -> "Iterator[list[edge.PointId]]":
    """Yields all ids, page by page, in order."""
    following: edge.PointId | None = None
    while True:
        request = edge.ScrollRequest(offset=following, limit=_PAGE, with_payload=False, with_vector=False)
        records, following = shard.scroll(request)
        yield [record.id for record in records]
        if following is None:
            return


def _same(served: edge.EdgeShard, copy: edge.EdgeShard, ids: "list[edge.PointId]") -> bool:
    """Says whether both shards hold the same payloads and vectors for some ids."""
    for before, after in zip(served.retrieve(ids, True, True), copy.retrieve(ids, True, True), strict=True):
        old, new = _vectors(before), _vectors(after)
        same_vectors = old.keys() == new.keys() and all(np.allclose(old[name], new[name], atol=1e-6) for name in old)
        if before.payload != after.payload or not same_vectors:
            return False
    return True


def _vectors(record: edge.Record) -> dict[str, Any]:
    return record.vector if isinstance(record.vector, dict) else {}
