"""A write that the disk did not take at first is on it before anybody is told that the note is stored."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from service.errors import IndexUnavailable
from service.index import EdgeIndex, IndexedNote
from service.index.edge.durability import Durability
from service.index.edge.integrity import Ledger
from tests.service.index.notes import DIMENSIONS, indexed_notes

NOTES = indexed_notes(3)


class Flaky:
    """A shard whose disk fails when it is told to."""

    def __init__(self, shard: Any) -> None:
        self._shard = shard
        self.failing = False
        self.flushed = 0
        self.updates = 1000  # that it takes before it is killed

    def flush(self) -> None:
        if self.failing:
            raise RuntimeError("Input/output error")
        self._shard.flush()
        self.flushed += 1

    def update(self, operation: Any) -> None:
        if not self.updates:
            raise RuntimeError("killed")
        self.updates -= 1
        self._shard.update(operation)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shard, name)


async def test_what_was_not_flushed_is_not_reported_as_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = EdgeIndex.open(tmp_path, vector_name="m-1", dimensions=DIMENSIONS)
    ledger = Ledger(tmp_path / "notes.ledger")
    disk = Flaky(index._shard)
    monkeypatch.setattr(index._writer, "durable", Durability(disk, ledger))  # type: ignore[arg-type]
    await index.upsert(NOTES[:1])
    ids = [note.id for note in NOTES]
    disk.failing = True
    with pytest.raises(IndexUnavailable, match="Input/output error"):
        await index.upsert(NOTES)
    for _ in range(2):
        with pytest.raises(IndexUnavailable, match="Input/output error"):
            await index.get(ids)  # who found the notes here would call them unchanged
    assert (disk.flushed, ledger.least()) == (1, 1)
    disk.failing = False
    assert sorted(await index.get(ids)) == sorted(ids)
    assert (disk.flushed, ledger.least()) == (2, 3)
    await index.get(ids)
    assert disk.flushed == 2, "a read costs no flush"
    disk.failing = True
    with pytest.raises(IndexUnavailable):
        await index.delete(ids)
    disk.failing = False
    assert not await index.get(ids)
    assert disk.flushed == 3
    await index.close()


async def test_a_delete_that_is_killed_half_way_leaves_the_note_or_its_tombstone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a replay would bring back what is gone, and the client's next DELETE says that there is nothing to delete."""
    numbered = [IndexedNote(note.payload | {"version": 5}, note.vector) for note in NOTES[:1]]
    index = EdgeIndex.open(tmp_path, vector_name="m-1", dimensions=DIMENSIONS)
    await index.upsert(numbered)
    disk = Flaky(index._shard)
    disk.updates = 1
    monkeypatch.setattr(index._writer, "durable", Durability(disk, Ledger(tmp_path / "notes.ledger")))  # type: ignore[arg-type]
    with suppress(IndexUnavailable):
        await index.delete([numbered[0].id])
    await index.close()
    index = EdgeIndex.open(tmp_path, vector_name="m-1", dimensions=DIMENSIONS)
    assert await index.get([numbered[0].id]) == {}
    await index.upsert(numbered)
    assert await index.get([numbered[0].id]) == {}
    await index.close()


async def test_the_names_of_a_new_index_are_on_the_disk_before_its_first_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut could take an index whole, and the next start would make an empty one without a word."""
    synced, renamed = [], []
    fsync, rename = os.fsync, Path.rename

    def note_sync(opened: int) -> None:
        fsync(opened)
        synced.append(Path(f"/proc/self/fd/{opened}").readlink())

    def note_rename(path: Path, target: Path) -> Path:
        renamed.append((path, len(synced)))
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "rename", note_rename)
    directory = tmp_path / "data" / "index"
    index = EdgeIndex.open(directory, vector_name="m-1", dimensions=DIMENSIONS)
    assert {tmp_path, tmp_path / "data"} <= set(synced)
    (shard, before), *more = renamed
    assert not more
    # What the library adds when it opens the shard comes later, and is synced by its own flush.
    made = {path.relative_to(shard) for path in synced[:before] if path.is_relative_to(shard)}
    assert made >= {Path(), Path("edge_config.json"), Path("wal"), Path("segments")}
    assert synced[before:].count(directory) >= 2, "the shard, and the ledger"
    await index.close()
