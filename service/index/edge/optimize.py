"""`optimize_index`: gives an embedded index a graph, so that a search does not scan every vector any more.

Qdrant Edge builds it in one call that holds the interpreter up for as long as it takes, and does not say what a kill in between leaves. So
it works on a copy, which takes the index's place when it is whole.
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
from service.index.edge.files import DescriptionFile
from service.index.edge.filters import tombstones
from service.index.edge.index import EdgeIndex
from service.index.edge.integrity import Ledger, count, failed
from service.index.edge.swap import OPTIMIZING, SHARD, replace
from service.index.edge.vectors import notes_in_graph
from service.settings import MIB

# The copy, and twice as much again while the library rewrites it: it refuses to begin with less.
COPIES = 3
_PAGE = 10_000
_UNLIMITED_KB = 2**40
_UNCHANGED = "The index is as it was"


@dataclass(frozen=True)
class Graph:
    """How a graph (HNSW: Malkov and Yashunin, 2016) is built. docs/results/reliability.md has the recall of the defaults.

    Attributes:
        m: edges of a note on each level; on the lowest twice as many.
        ef_construct: candidates among which they are chosen.
        threads: that build it; 0 for one a processor.
        full_scan_kib: where the vectors that count, all or those that a filter leaves, are fewer than fit into this, they are
            scanned: that is as fast, and exact.
    """

    m: int = 16
    ef_construct: int = 100
    threads: int = 0
    full_scan_kib: int = 10_000

    def config(self, shard: Path) -> edge.EdgeConfig:
        """As Qdrant Edge wants it for a shard, whose vectors stay as they are.

        One graph for all notes: each more would be asked for the same number of candidates.
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
    """What became of an index: its notes, those of them that are in the graph, and how long it took."""

    notes: int
    indexed: int
    seconds: float


def optimize_index(
    directory: Path, *, vector_name: str, dimensions: int, graph: Graph | None = None, min_free_bytes: int = 0
) -> Optimized:
    """Builds the graph of an index that no process has open. Interrupted at any point, the index is as it was, or optimised.

    Args:
        directory: of the index.
        vector_name: see `EdgeIndex.open`.
        dimensions: see there.
        graph: how it is built.
        min_free_bytes: of the disk that are left in any case.

    Raises:
        StartupError: see `EdgeIndex.open`; a service that has the index open is told in this way.
        CommandError: too little disk is free, or it did not work out; the index is as it was.
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
    """Turns what the library and the system raise into a `CommandError`."""
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
    """Holds the lock by which Qdrant Edge keeps a second process out, without the library: an open shard is not to be renamed."""
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
    """The files are mostly holes, which Python's own copy would fill."""
    command = ["cp", "--archive", "--sparse=always", "--reflink=auto", str(source), str(target)]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if outcome.returncode:
        raise CommandError(f"{source} could not be copied: {outcome.stderr.strip()}. {_UNCHANGED}")


def _check_copy(served: edge.EdgeShard, directory: Path) -> tuple[int, int]:
    """Whether the copy holds the same notes, and of each page the first one whole. Returns how many, and how many in the graph."""
    with _opened(directory / OPTIMIZING) as copy:
        points = 0
        for before, after in zip_longest(_pages(served), _pages(copy)):
            if before != after or not _same(served, copy, before[:1]):
                raise CommandError(f"the graph of {directory} does not hold the notes that the index holds. {_UNCHANGED}")
            points += len(before)
        ledger = Ledger(directory / "notes.ledger")
        if count(copy) < ledger.least():  # two copies of a note, of which one was counted, too, have become one
            ledger.write(count(copy))
        ledger.close()
        deleted = copy.count(edge.CountRequest(exact=True, filter=tombstones()))
        return points - deleted, notes_in_graph(copy, DescriptionFile(directory / "index.json").read())


def _pages(shard: edge.EdgeShard) -> "Iterator[list[edge.PointId]]":
    """All ids, in their order."""
    following: edge.PointId | None = None
    while True:
        request = edge.ScrollRequest(offset=following, limit=_PAGE, with_payload=False, with_vector=False)
        records, following = shard.scroll(request)
        yield [record.id for record in records]
        if following is None:
            return


def _same(served: edge.EdgeShard, copy: edge.EdgeShard, ids: "list[edge.PointId]") -> bool:
    """Whether both hold the same of some notes, payloads and vectors."""
    for before, after in zip(served.retrieve(ids, True, True), copy.retrieve(ids, True, True), strict=True):
        old, new = _vectors(before), _vectors(after)
        same_vectors = old.keys() == new.keys() and all(np.allclose(old[name], new[name], atol=1e-6) for name in old)
        if before.payload != after.payload or not same_vectors:
            return False
    return True


def _vectors(record: edge.Record) -> dict[str, Any]:
    return record.vector if isinstance(record.vector, dict) else {}
