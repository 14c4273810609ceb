"""The sample notes go into a running service, with their stored vectors, once."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

import demo.fill
import demo.vectors
from demo.fill import fill
from notellm import Checkpoint
from service.bulk.client import ServiceClient
from service.errors import CommandError
from service.http import create_app
from service.serving import open_service
from service.settings import Settings
from tests.demo.conftest import NOTES
from training.errors import TrainingError


@pytest.fixture(autouse=True)
def _small_demo(vectors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo.fill, "NOTES", vectors.with_name("notes.jsonl.gz"))
    monkeypatch.setattr(demo.vectors.read_vectors, "__defaults__", (vectors,))
    monkeypatch.setattr(demo.fill, "BATCH", 3)


@pytest.fixture
async def http(merged: Checkpoint, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(checkpoint=merged.path, data_dir=tmp_path / "data", engine="local")
    async with open_service(settings) as runtime:
        transport = httpx.ASGITransport(create_app(runtime, settings), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as speaking:
            yield speaking


async def test_the_notes_are_stored_once_and_have_neighbours(http: httpx.AsyncClient, merged: Checkpoint) -> None:
    for status in ("stored", "unchanged"):
        assert await fill(merged, ServiceClient(http, patience=5)) == {status: len(NOTES)}
    neighbours = (await http.get("/notes/n0/similar")).raise_for_status().json()["neighbours"]
    assert {note["id"] for note in neighbours} == {note.id for note in NOTES[1:]}
    # As if they had been embedded.
    embedded = (await http.post("/notes/embed", json={"notes": [NOTES[0].model_dump(mode="json", exclude_none=True)]})).json()
    assert embedded["notes"][0]["status"] == "unchanged"


async def test_another_checkpoint_than_the_demos_is_refused(http: httpx.AsyncClient, tiny: Checkpoint) -> None:
    with pytest.raises(TrainingError, match="made with another checkpoint"):
        await fill(tiny, ServiceClient(http, patience=5))


async def test_a_service_that_does_not_answer_is_told(merged: Checkpoint) -> None:
    async with httpx.AsyncClient(base_url="http://127.0.0.1:9", trust_env=False) as nobody:
        with pytest.raises(CommandError, match="gave up, because this needs more than 0 seconds"):
            await fill(merged, ServiceClient(nobody, patience=0))
