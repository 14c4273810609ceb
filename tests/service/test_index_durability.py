"""A write that the disk did not take at first is on it before anybody is told that the note is stored."""

from pathlib import Path
from typing import Any

import pytest

from service.errors import IndexUnavailable
from service.index import EdgeIndex
from service.index.durability import Durability
from service.index.integrity import Ledger
from tests.service.index_notes import DIMENSIONS, indexed_notes

NOTES = indexed_notes(3)


class Flaky:
    """A shard whose disk fails when it is told to."""

    def __init__(self, shard: Any) -> None:
        self._shard = shard
        self.failing = False
        self.flushed = 0

    def flush(self) -> None:
        if self.failing:
            raise RuntimeError("Input/output error")
        self._shard.flush()
        self.flushed += 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shard, name)


async def test_what_was_not_flushed_is_not_reported_as_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = EdgeIndex.open(tmp_path, vector_name="m-1", dimensions=DIMENSIONS)
    ledger = Ledger(tmp_path / "notes.ledger")
    disk = Flaky(index._shard)
    monkeypatch.setattr(index, "_durable", Durability(disk, ledger))  # type: ignore[arg-type]
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
