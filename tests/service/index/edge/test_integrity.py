"""An embedded index that lost something on disk is refused at the next start, whatever the library makes of its files."""

import asyncio
import itertools
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from service.errors import StartupError, StorageFull
from service.index import EdgeIndex, IndexedNote
from service.index.base import NoteFilter
from service.index.edge.integrity import Ledger
from service.settings import MIB
from tests.service.index.notes import DIMENSIONS, indexed_notes

NAME = "tiny-0"


def open_index(directory: Path, **settings: int) -> EdgeIndex:
    return EdgeIndex.open(directory, vector_name=NAME, dimensions=DIMENSIONS, **settings)


async def filled(directory: Path, notes: int = 200) -> list[IndexedNote]:
    """Written in several requests, as a service does."""
    stored = indexed_notes(notes)
    index = open_index(directory)
    for start in range(0, notes, 20):
        await index.upsert(stored[start : start + 20])
    await index.close()
    return stored


def cut_copy(whole: Path, copy: Path, file: Path, keep: float) -> None:
    shutil.rmtree(copy, ignore_errors=True)
    subprocess.run(["cp", "-a", "--sparse=always", whole, copy], check=True)  # the files are mostly holes
    os.truncate(copy / file, int((whole / file).stat().st_size * keep))


def open_or_refuse(directory: Path) -> EdgeIndex | str:
    try:
        return open_index(directory)
    except StartupError as error:
        return str(error)


async def assert_whole(index: EdgeIndex, stored: list[IndexedNote]) -> None:
    found = await index.get([note.id for note in stored], with_vectors=True)
    assert len(found) == len(stored)
    for note in stored:
        kept = found[note.id]
        assert kept.payload == note.payload
        assert kept.vector is not None
        assert note.vector is not None
        np.testing.assert_allclose(kept.vector, note.vector, atol=1e-6)
    assert stored[0].vector is not None
    matching = await index.search(stored[0].vector, where=NoteFilter(category="coffee"), limit=len(stored))
    assert len(matching) == len(stored)


async def test_whichever_file_is_cut_off_nothing_is_lost_in_silence(tmp_path: Path) -> None:
    whole, copy = tmp_path / "whole", tmp_path / "copy"
    stored = await filled(whole)
    refused = kept = 0
    files = [path.relative_to(whole) for path in sorted(whole.rglob("*")) if path.is_file() and path.stat().st_size]
    for file, keep in itertools.product(files, (0.5, 0.0)):
        await asyncio.to_thread(cut_copy, whole, copy, file, keep)
        index = open_or_refuse(copy)
        if isinstance(index, str):
            assert "Restore it from a backup" in index, file
            refused += 1
            continue
        await assert_whole(index, stored)
        await index.close()
        kept += 1
    assert refused > 10
    assert kept > 2


async def test_notes_that_are_missing_are_told(tmp_path: Path) -> None:
    await filled(tmp_path)
    Ledger(tmp_path / "notes.ledger").write(201)
    with pytest.raises(StartupError, match="has lost notes: it holds 200 and at least 201 were stored"):
        open_index(tmp_path)


async def test_an_index_of_a_release_without_a_ledger_gets_one(tmp_path: Path) -> None:
    await filled(tmp_path)
    (tmp_path / "notes.ledger").unlink()
    index = open_index(tmp_path)
    await index.upsert(indexed_notes(1))
    await index.close()
    assert Ledger(tmp_path / "notes.ledger").least() == 200


async def test_deletes_lower_the_ledger_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ends between the two must not be refused for what it was asked to forget."""
    stored = await filled(tmp_path)
    index = open_index(tmp_path)
    monkeypatch.setattr(index._writer.durable, "write", lambda operations: (_ for _ in ()).throw(OSError("killed here")))
    with pytest.raises(Exception, match="killed here"):
        await index.delete([note.id for note in stored[:3]])
    assert Ledger(tmp_path / "notes.ledger").least() == 197
    monkeypatch.undo()
    await index.delete([note.id for note in stored[:3]] + ["never stored"])
    assert Ledger(tmp_path / "notes.ledger").least() == await index.count() == 197
    await index.close()
    await open_index(tmp_path).close()


async def test_the_count_follows_every_write(tmp_path: Path) -> None:
    index, notes = open_index(tmp_path), indexed_notes(50)
    await index.upsert(notes[:40])
    await index.upsert(notes[20:])
    assert await index.count() == 50
    await index.delete([note.id for note in notes[:10]])
    await index.delete([note.id for note in notes[:15]])
    assert await index.count() == 35
    await index.close()
    index = open_index(tmp_path)
    assert await index.count() == 35
    await index.close()


async def test_a_disk_that_is_nearly_full_takes_no_writes(tmp_path: Path) -> None:
    stored = await filled(tmp_path, 20)
    free = shutil.disk_usage(tmp_path).free
    index = open_index(tmp_path, min_free_bytes=2 * free)
    for write in (index.upsert(indexed_notes(30)[20:]), index.delete([stored[0].id])):
        with pytest.raises(StorageFull, match=r"MiB free, and \d+ must stay free: nothing was written\. Free space"):
            await write
    assert 2 * free > MIB
    assert stored[0].vector is not None
    found = await index.search(stored[0].vector, where=NoteFilter(), limit=1)
    assert [note.payload["id"] for note in found] == [stored[0].id]
    assert await index.count() == Ledger(tmp_path / "notes.ledger").least() == 20
    await asyncio.gather(index.close())
