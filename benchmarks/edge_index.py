"""How large the embedded index may get: measures queries, stalls of the event loop, memory and disk.

    python -m benchmarks.edge_index [--notes 100000] [--optimized] [--directory DIRECTORY] [--output FILE.json]

The vectors are perturbed copies of the demo's vectors of real notes, as many as needed; the texts are the demo's as well. With
`--optimized`, a separate process first builds the graph of `notellm-serve optimize`, and the results are compared with a scan.
"""

import argparse
import asyncio
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import machine
from demo.checkpoint import NOTES
from demo.vectors import VECTORS
from notellm.note import Note
from service.engines import usable_cores
from service.index import EdgeIndex, Graph, IndexedNote, NoteFilter, optimize_index
from training.data import read_notes

VECTOR_NAME = "benchmark"
# Relative to the length of a vector. A perturbed vector is nearer to its original (cosine 0.89) than to most others.
NOISE = 0.5
BATCH = 1000
QUERIES = 1000
RECALL_QUERIES = 200
TICK_SECONDS = 0.001
BEER = NoteFilter(category="beer")
Matrix = np.ndarray[tuple[int, int], np.dtype[np.float32]]
Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]
Figures = dict[str, Any]


def perturbed(count: int, seed: int) -> Matrix:
    """Unit vectors, (count, dimensions)."""
    with np.load(VECTORS) as kept:
        real = kept["vectors"].astype(np.float32)
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((count, real.shape[1]), dtype=np.float32) * np.float32(NOISE / np.sqrt(real.shape[1]))
    vectors = real[rng.integers(len(real), size=count)]
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True) + noise
    unit: Matrix = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


class Stalls:
    """Measures how long the event loop was blocked, with a task that should run every millisecond."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def watch(self, work: Awaitable[object]) -> None:
        """Measures stalls until the work is done."""
        ticking = asyncio.create_task(self._tick())
        try:
            await work
        finally:
            ticking.cancel()

    async def _tick(self) -> None:
        while True:
            start = time.perf_counter()
            await asyncio.sleep(TICK_SECONDS)
            self.seconds.append(time.perf_counter() - start - TICK_SECONDS)


async def timed(calls: Sequence[Callable[[], Awaitable[object]]]) -> Figures:
    """Runs the calls one after another: milliseconds of each call, milliseconds of stalls, and CPU milliseconds per call."""
    taken: list[float] = []

    async def run() -> None:
        for call in calls:
            start = time.perf_counter()
            await call()
            taken.append(time.perf_counter() - start)

    stalls, processor = Stalls(), time.process_time()
    await stalls.watch(run())
    each = (time.process_time() - processor) / len(calls)
    return {"call": _spread(taken), "stall": _spread(stalls.seconds), "processor": round(each * 1000, 2)}


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    milliseconds = np.array(seconds) * 1000
    found = {f"p{share}": float(np.percentile(milliseconds, share)) for share in (50, 99)}
    return {name: round(value, 2) for name, value in (found | {"max": float(milliseconds.max())}).items()}


async def fill(index: EdgeIndex, notes: Sequence[Note], vectors: Matrix) -> float:
    """Stores one note per vector and returns the seconds."""
    payloads = [note.payload() for note in notes]
    start = time.perf_counter()
    for first in range(0, len(vectors), BATCH):
        numbers = range(first, min(first + BATCH, len(vectors)))
        await index.upsert(
            [IndexedNote(payloads[number % len(payloads)] | {"id": f"n{number}"}, vectors[number]) for number in numbers]
        )
    return time.perf_counter() - start


async def ask(index: EdgeIndex, queries: Matrix, writes: Sequence[IndexedNote]) -> Figures:
    """Times queries with and without a filter, and writes of 64 notes."""
    return {
        "query": await timed([lambda q=q: index.search(q, where=NoteFilter(), limit=10) for q in queries]),  # type: ignore[misc]
        "filtered query": await timed([lambda q=q: index.search(q, where=BEER, limit=10) for q in queries]),  # type: ignore[misc]
        "write of 64 notes": await timed(
            [lambda part=writes[start : start + 64]: index.upsert(part) for start in range(0, len(writes), 64)]  # type: ignore[misc]
        ),
    }


async def recall(index: EdgeIndex, vectors: Matrix, queries: Matrix, where: NoteFilter, counts: Mask) -> float:
    """Share of the ten exact neighbours that the index finds, among the notes that pass the filter."""
    hits = 0
    for query in queries:
        scores = np.where(counts, vectors @ query, -2)
        exact = {f"n{number}" for number in np.argpartition(-scores, 10)[:10]}
        hits += len(exact & {str(found.payload["id"]) for found in await index.search(query, where=where, limit=10)})
    return hits / (10 * len(queries))


def disk_mib(directory: Path) -> float:
    """Size of the files on disk."""
    return round(sum(file.stat().st_blocks * 512 for file in directory.rglob("*") if file.is_file()) / 2**20, 1)


def resident_mib() -> dict[str, float]:
    """Resident memory of this process: anonymous memory, and mapped files, which the kernel may drop."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: round(int(fields[name].split()[0]) / 1024, 1) for name in ("RssAnon", "RssFile")}


def peak_mib() -> float:
    """Peak memory of this process so far."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def build_graph(directory: Path, dimensions: int) -> Figures:
    """Optimises an index. It runs in a separate process, as `notellm-serve optimize` does."""
    graph, before = Graph(threads=usable_cores()), disk_mib(directory)
    done = optimize_index(directory, vector_name=VECTOR_NAME, dimensions=dimensions, graph=graph)
    return {
        "m": graph.m, "ef_construct": graph.ef_construct, "threads": graph.threads, "notes": done.indexed,
        "build seconds": round(done.seconds, 1), "build peak MiB": peak_mib(), "disk MiB before": before,
    }  # fmt: skip


async def measure(directory: Path, count: int, *, optimized: bool) -> Figures:
    """All figures of an index with `count` notes. The index is made in the directory unless it is already there."""
    notes = list(read_notes(NOTES))
    vectors, queries = perturbed(count, seed=1), perturbed(QUERIES, seed=2)
    before = resident_mib()
    opened = EdgeIndex.open(directory, vector_name=VECTOR_NAME, dimensions=vectors.shape[1])
    made = directory.with_name("made.json")
    figures: Figures = json.loads(made.read_text()) if made.exists() else {"notes": count, "dimensions": vectors.shape[1]}
    if not made.exists():
        figures["fill seconds"] = round(await fill(opened, notes, vectors), 1)
    await opened.close()
    if optimized and "graph" not in figures:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            figures["graph"] = pool.submit(build_graph, directory, vectors.shape[1]).result()
    made.write_text(json.dumps(figures))
    start = time.perf_counter()
    opened = EdgeIndex.open(directory, vector_name=VECTOR_NAME, dimensions=vectors.shape[1])
    figures["open seconds"] = round(time.perf_counter() - start, 2)
    beer = np.array([notes[number % len(notes)].category == BEER.category for number in range(count)])
    every = np.ones(count, dtype=bool)
    figures["recall@10"] = await recall(opened, vectors, queries[:RECALL_QUERIES], NoteFilter(), every)
    figures["filtered recall@10"] = await recall(opened, vectors, queries[:RECALL_QUERIES], BEER, beer)
    writes = [IndexedNote(notes[n % len(notes)].payload() | {"id": f"n{n}"}, vectors[n]) for n in range(min(count, 3200))]
    figures |= await ask(opened, queries, writes)
    after = resident_mib()
    await opened.close()
    figures["memory MiB"] = {name: round(after[name] - before[name], 1) for name in after}
    figures["disk MiB"] = disk_mib(directory)
    figures["peak MiB"] = peak_mib()
    return figures


def main() -> None:
    """Measures, prints, and writes the file of `--output`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--notes", type=int, default=100_000)
    parser.add_argument("--optimized", action="store_true")
    parser.add_argument("--directory", type=Path, help="make or reuse the index in this directory, and keep it")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = (arguments.directory or Path(folder)) / "index"
        measured = asyncio.run(measure(place, arguments.notes, optimized=arguments.optimized))
    text = json.dumps({"machine": machine(), "index": measured}, indent=1)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
