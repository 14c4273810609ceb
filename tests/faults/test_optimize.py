"""`optimize` is killed for real, at any moment; and so is a service on an index that has a graph."""

import asyncio
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from harness.processes import ROOT
from harness.service import start_service
from notellm import Checkpoint
from notellm.checkpoint import vector_name_of
from service.index import EdgeIndex, IndexedNote
from service.index.edge.swap import OPTIMIZING, REPLACED, SHARD
from tests.faults.test_kills import assert_nothing_is_lost
from tests.faults.writers import Writer, write_and_kill
from tests.service.index.notes import DIMENSIONS, indexed_notes

pytestmark = [pytest.mark.faults, pytest.mark.slow("services are started again and again")]
NAME = "tiny-0"
NOTES = 4000
# How far it has come.
STAGES: list[Callable[[Path], bool]] = [
    lambda index: (index / OPTIMIZING).exists(),
    lambda index: any((index / OPTIMIZING / "temp_segments").glob("*")),
    lambda index: len(list((index / OPTIMIZING / "segments").glob("*"))) > 1,
    lambda index: (index / REPLACED).exists() or not (index / SHARD).exists(),
]


def start(directory: Path, name: str = NAME, dimensions: int = DIMENSIONS) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.faults.optimizing", str(directory), name, str(dimensions)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()


def open_index(directory: Path) -> EdgeIndex:
    return EdgeIndex.open(directory, vector_name=NAME, dimensions=DIMENSIONS)


def make(directory: Path, notes: Sequence[IndexedNote]) -> None:
    index = open_index(directory)
    for first in range(0, len(notes), 2000):
        asyncio.run(index.upsert(notes[first : first + 2000]))
    asyncio.run(index.close())


def kill_at(directory: Path, reached: Callable[[Path], bool], pause: float) -> int:
    """Kills it soon after it has come so far; returns its exit code."""
    process = start(directory)
    while not reached(directory) and process.poll() is None:
        time.sleep(0.0005)
    time.sleep(pause)
    process.kill()
    process.communicate()
    return process.returncode


def assert_holds(directory: Path, notes: Sequence[IndexedNote]) -> bool:
    """Whether it has a graph, too."""
    index = open_index(directory)
    assert {path.name for path in directory.iterdir()} == {SHARD, "index.json", "notes.ledger"}
    found = asyncio.run(index.get([note.id for note in notes], with_vectors=True))
    assert asyncio.run(index.count()) == len(notes)
    asyncio.run(index.close())
    assert {note_id: note.payload for note_id, note in found.items()} == {note.id: note.payload for note in notes}
    np.testing.assert_allclose(
        np.array([found[note.id].vector for note in notes]), np.array([note.vector for note in notes]), atol=1e-6
    )
    assert index.indexed in {0, len(notes)}
    return index.indexed > 0


def test_killed_at_any_stage_it_loses_nothing(tmp_path: Path) -> None:
    rng, notes, whole = random.Random(5), indexed_notes(NOTES), tmp_path / "whole"
    make(whole, notes)
    killed, optimised = 0, []
    for number, reached in enumerate(2 * STAGES):
        copy = tmp_path / str(number)
        subprocess.run(["cp", "--archive", "--sparse=always", whole, copy], check=True)
        killed += kill_at(copy, reached, rng.uniform(0, 0.02)) == -signal.SIGKILL
        optimised.append(assert_holds(copy, notes))
        if number == 0:
            finish(start(copy))
            assert assert_holds(copy, notes)
        shutil.rmtree(copy)
    assert killed >= len(STAGES)
    assert optimised.count(False) >= len(STAGES)


def test_a_service_on_an_optimised_index_is_killed_and_loses_nothing(tiny_path: Path, tmp_path: Path) -> None:
    """Overwriting a note of the graph moves it: of a move that was cut off, both ends must not stay."""
    rng, checkpoint = random.Random(6), Checkpoint.open(tiny_path, verify="size")
    writers = [Writer(f"w{number}", random.Random(number)) for number in range(3)]
    for _ in range(2):
        write_and_kill(start_service(tiny_path, tmp_path), writers, rng)
        finish(start(tmp_path / "index", vector_name_of(checkpoint), checkpoint.manifest.dimensions))
    write_and_kill(start_service(tiny_path, tmp_path), writers, rng)
    assert assert_nothing_is_lost(tiny_path, tmp_path, writers) >= 20
