"""The process that places vectors."""

import asyncio
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from service.note_map import drawing
from service.note_map.drawing import MapFailed, MapProcess
from tests.service.note_map.archives import clusters


async def test_notes_of_one_kind_lie_together() -> None:
    said: list[float] = []
    vectors = clusters(150)
    positions, regions = await MapProcess().place(vectors, said.append)
    assert positions.shape == (150, 2)
    assert regions.shape == (150,)
    middles = np.stack([positions[group::3].mean(axis=0) for group in range(3)])
    nearest = np.linalg.norm(positions[:, None] - middles[None], axis=2).argmin(axis=1)
    assert (nearest == np.arange(150) % 3).mean() > 0.98
    assert said == sorted(said)
    assert said[-1] == 1.0


@pytest.mark.slow
async def test_the_same_notes_have_the_same_map() -> None:
    (one, _), (other, _) = [await MapProcess().place(clusters(150), lambda _: None) for _ in range(2)]
    np.testing.assert_array_equal(one, other)


async def test_a_failure_says_why() -> None:
    with pytest.raises(MapFailed, match=r"^the map's process failed: \S*Error: "):
        await MapProcess().place(np.full((20, 8), np.nan, dtype=np.float32), lambda _: None)


async def test_a_full_disk_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(MapFailed, match="has no room for the vectors, 1 MiB: No space left on device"):
        await MapProcess().place(np.ones((50_000, 8), dtype=np.float32), lambda _: None)


async def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "find_spec", lambda _: None)
    with pytest.raises(MapFailed, match="pip install 'notellm\\[map\\]'"):
        await MapProcess().place(clusters(20), lambda _: None)


async def test_a_drawing_that_is_cancelled_ends_its_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A process that would never end by itself."""
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho $$ > " + str(tmp_path / "pid") + "\necho 0.5\nexec sleep 1000\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    begun = asyncio.Event()
    task = asyncio.create_task(MapProcess().place(clusters(20), lambda _: begun.set()))
    await begun.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
