"""Several services over one index: what one of them is told, the others do too; and a model that could not be loaded."""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from service.serving import model_manager
from service.settings import Settings
from tests.qdrant import QdrantStandIn
from tests.service.calls import NOTES, embed
from tests.service.serving.migrating import MANY, assert_answers_by, change, reach, serving, start

Make = Callable[..., Settings]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_manager, "FOLLOW_SECONDS", 0.1)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[QdrantStandIn]:
    server = QdrantStandIn()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def settings(settings_for: Make, server: QdrantStandIn) -> Settings:
    """Of each replica."""
    return settings_for(qdrant_url="http://127.0.0.1", qdrant_grpc_port=server.port)


@pytest.fixture
def late(next_path: Path, tmp_path: Path) -> Path:
    """The new model's checkpoint, at a place of its own: it can be moved away."""
    return Path(shutil.copytree(next_path, tmp_path / "late"))


def move(source: Path, target: Path) -> None:
    """Takes a checkpoint away, or brings it back."""
    source.rename(target)


async def test_replicas_over_one_server_follow(settings: Settings, server: QdrantStandIn, next_path: Path) -> None:
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
        async with asyncio.timeout(30):
            while (await first.get("/model")).json()["name"] != "tiny":
                await asyncio.sleep(0.05)
        await change(first, "switch")
        await reach(second, "switched")
        await change(first, "finish")
        await reach(second, "none")
        for client in (first, second):
            await assert_answers_by(client, next_path, [*NOTES, *MANY[:3]])
    (added,) = server.calls("CreateVectorName")
    assert added.dense_config.size == 16
    assert len(server.calls("DeleteVectorName")) == 1


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


async def test_a_model_is_tried_ever_more_seldom(settings: Settings, late: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(settings) as (_, first):
        await start(first, late)
        await reach(first, "filled")
    shutil.rmtree(late)
    with caplog.at_level(logging.WARNING, "service.serving.model_manager"):
        async with serving(settings):
            await asyncio.sleep(2)
    tried = [record for record in caplog.records if record.message == "the migration does not go on here"]
    # At the start, then after 0.1, 0.2, 0.4 and 0.8 seconds more; without growing pauses it would be twenty times.
    assert 2 <= len(tried) <= 7


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
            async with asyncio.timeout(30):
                while (ready := await second.get("/health/ready")).status_code == 200:
                    await asyncio.sleep(0.05)
            assert "another model should answer" in ready.json()["detail"]
            assert "no such directory" in (await second.get("/admin/migration")).json()["error"]
            move(away, late)
            async with asyncio.timeout(30):
                while (await second.get("/health/ready")).status_code != 200:
                    await asyncio.sleep(0.05)
            await assert_answers_by(second, next_path, NOTES)
