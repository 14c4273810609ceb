"""`EdgeWriter`: look and write are one step, and what need not be written needs no room on the disk."""

import asyncio
import shutil
from pathlib import Path

import pytest

from service.errors import StorageFull
from service.index import EdgeIndex, Tombstone
from tests.service.index.backends import DIMENSIONS, indexed


async def test_what_was_seen_before_does_not_count(tmp_path: Path) -> None:
    index = EdgeIndex.open(tmp_path, vector_name="m-1", dimensions=DIMENSIONS)
    seen = await index.look(["n1"])
    await index.upsert([indexed(1, version=5)])
    assert await index.upsert([indexed(1, version=4)], seen=seen) == ["overtaken"]
    await index.delete(["n1"])
    assert await index.upsert([indexed(1, version=5)], seen=seen) == ["buried"]
    await index.close()


async def test_of_writes_at_the_same_time_each_is_told_what_became_of_it(tmp_path: Path) -> None:
    """Whoever is told `stored` has replaced a lower version, so that versions only rise."""
    index = EdgeIndex.open(tmp_path, vector_name="m-1", dimensions=DIMENSIONS)
    versions = [3, 1, 5, 2, 4, 6]
    told = await asyncio.gather(*(index.upsert([indexed(1, version=version)]) for version in versions))
    assert [outcome for (outcome,) in told] == ["stored", "overtaken", "stored", "overtaken", "overtaken", "stored"]
    deleted = await asyncio.gather(*(index.delete(["n1"]) for _ in range(3)))
    assert [outcome for (outcome,) in deleted] == ["deleted", "missing", "missing"]
    await index.close()


async def test_what_changes_nothing_is_told_by_a_full_disk_too(tmp_path: Path) -> None:
    index = EdgeIndex.open(tmp_path, vector_name="m-1", dimensions=DIMENSIONS)
    await index.upsert([indexed(1, version=5)])
    await index.close()
    full = EdgeIndex.open(
        tmp_path, vector_name="m-1", dimensions=DIMENSIONS, min_free_bytes=2 * shutil.disk_usage(tmp_path).free
    )
    assert await full.delete(["n9"]) == ["missing"]
    assert await full.upsert([indexed(1, version=4)]) == ["overtaken"]
    assert await full.restore([indexed(1, version=5)]) == ["unchanged"]
    assert await full.bury([Tombstone("n1", 4)]) == ["kept"]
    for write in (full.delete(["n1"]), full.upsert([indexed(1, version=6)]), full.bury([Tombstone("n1", 5)])):
        with pytest.raises(StorageFull):
            await write
    assert list(await full.get(["n1"])) == ["n1"]
    await full.close()
