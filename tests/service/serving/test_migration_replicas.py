"""Several services over one index: what one of them is told, the others do too; and a model that could not be loaded."""

import asyncio
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from notellm.checkpoint import Checkpoint, vector_name_of
from service.serving import migration, model_manager
from service.settings import Settings
from tests.clock import PATIENCE_SECONDS, until
from tests.qdrant import QdrantStandIn
from tests.service.calls import NOTES, embed
from tests.service.serving.migrating import MANY, assert_answers_by, change, reach, serving, start

Make = Callable[..., Settings]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_manager, "FOLLOW_SECONDS", 0.1)


@pytest.fixture
def settings(settings_for: Make, stand_in: QdrantStandIn) -> Settings:
    """Of each replica."""
    return settings_for(qdrant_url="http://127.0.0.1", qdrant_grpc_port=stand_in.port)


@pytest.fixture
def late(next_path: Path, tmp_path: Path) -> Path:
    """The new model's checkpoint, at a place of its own: it can be moved away."""
    return Path(shutil.copytree(next_path, tmp_path / "late"))


def move(source: Path, target: Path) -> None:
    """Takes a checkpoint away, or brings it back."""
    source.rename(target)


async def test_replicas_over_one_server_follow(
    settings: Settings, stand_in: QdrantStandIn, tiny_path: Path, next_path: Path
) -> None:
    async with serving(settings) as (_, first), serving(settings) as (_, second):
        await embed(first, NOTES)
        await start(first, next_path)
        await reach(first, "filled")
        await reach(second, "filled")
        await embed(second, MANY[:3])
        await reach(first, "filled")
        await change(first, "switch")
        await reach(second, "switched")
        for client in (first, second):
            await assert_answers_by(client, next_path, [*NOTES, *MANY[:3]])
        await change(second, "rollback")

        async def followed() -> bool:
            return bool((await first.get("/model")).json()["name"] == "tiny")

        await until(followed)
        await change(first, "switch")
        await reach(second, "switched")
        await change(first, "finish")
        await reach(second, "none")
        for client in (first, second):
            await assert_answers_by(client, next_path, [*NOTES, *MANY[:3]])
    (added,) = stand_in.calls("CreateVectorName")
    assert added.dense_config.size == 16
    # Each replica may drop the vectors, since the one that was told to finish may end before it does; see index/test_races.py.
    assert {dropped.vector_name for dropped in stand_in.calls("DeleteVectorName")} == {
        vector_name_of(Checkpoint.open(tiny_path))
    }


async def test_a_replica_tries_again_to_load_a_model(settings: Settings, late: Path, next_path: Path, tmp_path: Path) -> None:
    """Its disk may get the checkpoint later than that of the replica that was told to move."""
    away = tmp_path / "away"
    async with serving(settings) as (_, first):
        await embed(first, NOTES)
        await start(first, late)
        await reach(first, "filled")
        move(late, away)
        async with serving(settings) as (_, second):
            state = (await second.get("/admin/migration")).json()
            assert state["phase"] == "filling"
            assert "no such directory" in state["error"]
            await embed(second, MANY[:3])
            move(away, late)
            assert "error" not in await reach(second, "filled")
            await change(second, "switch")
            await assert_answers_by(second, next_path, [*NOTES, *MANY[:3]])


class OwnTime:
    """In place of `asyncio`'s: so many pauses pass at once, and the next one for ever."""

    def __init__(self, pauses: int) -> None:
        self.over = asyncio.Event()
        self._left = pauses
        self._now = 0.0

    async def sleep(self, seconds: float) -> None:
        if not self._left:
            self.over.set()
            await asyncio.Event().wait()
        self._left -= 1
        self._now += seconds

    def get_running_loop(self) -> SimpleNamespace:
        return SimpleNamespace(time=lambda: self._now)


async def test_a_model_is_tried_ever_more_seldom(
    settings: Settings, late: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(settings) as (_, first):
        await start(first, late)
        await reach(first, "filled")
    shutil.rmtree(late)
    time = OwnTime(pauses=40)
    own = {"sleep": time.sleep, "get_running_loop": time.get_running_loop}
    monkeypatch.setattr(migration, "asyncio", SimpleNamespace(**vars(asyncio) | own))
    monkeypatch.setattr(model_manager, "FOLLOW_SECONDS", 1.0)
    with caplog.at_level(logging.WARNING, "service.serving.model_manager"):
        async with serving(settings), asyncio.timeout(PATIENCE_SECONDS):
            await time.over.wait()
    tried = [record for record in caplog.records if record.message == "this process cannot continue the migration"]
    # At the start, and after 1, 2, 4, 8, 16 and 32 seconds; without growing pauses it would be every second.
    assert len(tried) == 7


async def ready_with(client: httpx.AsyncClient, status: int) -> None:
    """Waits for an answer to the readiness probe."""

    async def ready() -> bool:
        return (await client.get("/health/ready")).status_code == status

    await until(ready)


async def test_a_replica_without_the_model_that_answers_is_not_ready(
    settings: Settings, late: Path, next_path: Path, tmp_path: Path
) -> None:
    """It would answer by the old model, beside others that answer by the new one."""
    away = tmp_path / "away"
    async with serving(settings) as (_, first):
        await embed(first, NOTES)
        await start(first, late)
        await reach(first, "filled")
        move(late, away)
        async with serving(settings) as (_, second):
            assert (await second.get("/health/ready")).status_code == 200
            await change(first, "switch")
            await ready_with(second, 503)
            assert "another model should answer" in (await second.get("/health/ready")).json()["detail"]
            assert "no such directory" in (await second.get("/admin/migration")).json()["error"]
            move(away, late)
            await ready_with(second, 200)
            await assert_answers_by(second, next_path, NOTES)
