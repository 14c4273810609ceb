"""A service that is moved to another model, as the tests ask it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from notellm import Checkpoint, Note, NoteEncoder
from service.http import create_app
from service.serving.runtime import Runtime, open_service
from service.settings import Settings
from tests.clock import PATIENCE_SECONDS
from tests.service.calls import Json

MANY = [{"id": f"m{number}", "title": f"note {number}", "content": "sour " * (number % 9)} for number in range(90)]


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[tuple[Runtime, httpx.AsyncClient]]:
    async with open_service(settings) as runtime:
        transport = httpx.ASGITransport(create_app(runtime, settings), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60) as client:
            yield runtime, client


def vectors_by(path: Path, notes: list[Json]) -> dict[str, Any]:
    """What the model gives when it is asked alone."""
    checkpoint = Checkpoint.open(path)
    prompt = checkpoint.prompt()
    tokenized = prompt.tokenize([Note.model_validate(note) for note in notes])
    encoder = NoteEncoder(checkpoint.load_model(), prompt.embedding_prefix)
    vectors = encoder.encode([prompt.embedding(note) for note in tokenized])
    return dict(zip([note["id"] for note in notes], vectors, strict=True))


async def start(client: httpx.AsyncClient, path: Path) -> None:
    answer = await client.post("/admin/migration", json={"checkpoint": str(path), "share": 1})
    assert answer.status_code == 200, answer.text


async def reach(client: httpx.AsyncClient, phase: str) -> Json:
    """Waits for a phase of the migration; its whole state then."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        state: Json = (await client.get("/admin/migration")).json()
        if state["phase"] == phase:
            return state
        assert time.monotonic() < deadline, state
        await asyncio.sleep(0.05)


async def change(client: httpx.AsyncClient, to: str, **body: object) -> Json:
    answer = await client.post(f"/admin/migration/{to}", json=body)
    assert answer.status_code == 200, answer.text
    state: Json = answer.json()
    return state


async def assert_answers_by(client: httpx.AsyncClient, path: Path, notes: list[Json]) -> None:
    """Vectors, dimensions and neighbours are those of one model, and of no other."""
    expected = vectors_by(path, notes)
    name = Checkpoint.open(path).manifest.name
    assert (await client.get("/model")).json()["name"] == name
    for note in notes[:3]:
        stored = (await client.get(f"/notes/{note['id']}", params={"vector": True})).json()
        np.testing.assert_allclose(stored["vector"], expected[note["id"]], atol=1e-5)
        similar = (await client.get(f"/notes/{note['id']}/similar", params={"limit": 100})).json()
        assert similar["model"] == name
        assert len(similar["neighbours"]) == len(notes) - 1
        scores = {found["id"]: found["score"] for found in similar["neighbours"]}
        for other, score in scores.items():
            assert score == pytest.approx(float(expected[note["id"]] @ expected[other]), abs=1e-4)
