"""`optimize` is killed for real, at any moment; and so is a service on an index that has a graph."""

import asyncio
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from notellm import Checkpoint
from service.archive import vector_name_of
from service.index import EdgeIndex
from service.index.swap import OPTIMIZING, REPLACED, SHARD
from tests.faults.test_kills import assert_nothing_is_lost
from tests.faults.writers import Writer, write_and_kill
from tests.processes import ROOT
from tests.service.index_notes import DIMENSIONS, indexed_notes
from tests.serving import start_service

pytestmark = pytest.mark.faults
NAME = "tiny-0"
NOTES = 12_000
KILLS = 8


def start(directory: Path, name: str = NAME, dimensions: int = DIMENSIONS) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.faults.optimizing", directory, name, str(dimensions)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    while not path.exists() and process.poll() is None:
        time.sleep(0.001)


def open_index(directory: Path) -> EdgeIndex:
    return EdgeIndex.open(directory, vector_name=NAME, dimensions=DIMENSIONS)


def test_killed_at_any_moment_it_loses_nothing(tmp_path: Path) -> None:
    """The moments are spread over how long it takes from the first copied file on, and a little beyond the end."""
    rng, notes = random.Random(5), indexed_notes(NOTES)
    index = open_index(tmp_path)
    for first in range(0, NOTES, 2000):
        asyncio.run(index.upsert(notes[first : first + 2000]))
    asyncio.run(index.close())
    process = start(tmp_path)
    wait_for(tmp_path / OPTIMIZING, process)
    begun = time.monotonic()
    finish(process)
    seconds = time.monotonic() - begun
    killed = 0
    for number in range(KILLS):
        changed = notes[number :: 10 * KILLS]
        process = start(tmp_path)
        wait_for(tmp_path / OPTIMIZING, process)
        time.sleep((number + rng.random()) / KILLS * seconds * 1.05)
        process.kill()
        killed += process.wait() != 0
        index = open_index(tmp_path)
        assert asyncio.run(index.count()) == NOTES
        assert {path.name for path in tmp_path.iterdir()} == {SHARD, "index.json", "notes.ledger"}
        asyncio.run(index.upsert(changed))
        asyncio.run(index.close())
    assert killed >= KILLS // 2
    finish(start(tmp_path))
    index = open_index(tmp_path)
    assert index.indexed == NOTES
    found = asyncio.run(index.get([note.id for note in notes], with_vectors=True))
    asyncio.run(index.close())
    assert {note_id: note.payload for note_id, note in found.items()} == {note.id: note.payload for note in notes}
    for note in notes:
        assert found[note.id].vector is not None
        np.testing.assert_allclose(found[note.id].vector, note.vector, atol=1e-6)
    assert not (tmp_path / REPLACED).exists()


def test_a_service_on_an_optimised_index_is_killed_and_loses_nothing(tiny_path: Path, tmp_path: Path) -> None:
    """Overwriting a note of the graph moves it: of a move that was cut off, both ends must not stay."""
    rng, checkpoint = random.Random(6), Checkpoint.open(tiny_path, verify="size")
    writers = [Writer(f"w{number}", random.Random(number)) for number in range(3)]
    for _ in range(3):
        for _ in range(2):
            write_and_kill(start_service(tiny_path, tmp_path), writers, rng)
        finish(start(tmp_path / "index", vector_name_of(checkpoint), checkpoint.manifest.dimensions))
    for _ in range(2):
        write_and_kill(start_service(tiny_path, tmp_path), writers, rng)
    assert assert_nothing_is_lost(tiny_path, tmp_path, writers) >= 20
