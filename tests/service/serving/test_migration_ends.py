"""The end of a migration: nothing is dropped that some note still needs, whatever fails and wherever the process dies."""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from notellm import Note
from service.errors import IndexUnavailable, ModelFailed
from service.index import Description, EdgeIndex, ModelVectors
from service.notes import NoteService
from service.serving import model_manager
from service.serving.loaded_model import LoadedModel, ModelLoader
from service.serving.runtime import Runtime
from service.settings import Settings
from tests.clock import until
from tests.service.calls import NOTES, embed
from tests.service.serving.migrating import assert_answers_by, change, reach, serving, start
from training.model import InitialCheckpoint

Make = Callable[..., Settings]
POISON = {"id": "poison", "title": "no other model reads this"}
VECTORS = NoteService.vectors


async def _no_poison(self: NoteService, notes: Sequence[Note]) -> Any:
    if any(note.title == POISON["title"] for note in notes):
        raise ModelFailed("as the test wants it")
    return await VECTORS(self, notes)


async def _none(_self: NoteService, _notes: Sequence[Note]) -> Any:
    raise ModelFailed("as the test wants it")


async def test_finishing_waits_for_notes_that_have_no_other_vector(
    settings_for: Make, next_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NoteService, "vectors", _no_poison)
    async with serving(settings_for()) as (runtime, client):
        await embed(client, [*NOTES, POISON])
        await start(client, next_path)
        await reach(client, "filling")
        await change(client, "switch", force=True)
        refused = await client.post("/admin/migration/finish")
        assert refused.status_code == 409
        assert "1 notes cannot be embedded, such as poison: change them or delete them" in refused.json()["detail"]
        await change(client, "rollback", force=True)
        assert (await client.get("/notes/poison/similar")).status_code == 200, "its only vector has stayed"
        await change(client, "switch", force=True)
        await client.delete("/notes/poison")
        await change(client, "finish")
        assert (await runtime.index.describe()).dropping is None
    async with serving(settings_for(checkpoint=next_path)) as (_, client):
        await assert_answers_by(client, next_path, NOTES)


async def test_a_kill_before_the_drop_leaves_no_note_without_a_vector(
    settings_for: Make, next_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_manager, "FOLLOW_SECONDS", 0.1)
    async with serving(settings_for()) as (runtime, client):
        await start(client, next_path)
        await reach(client, "filled")
        with monkeypatch.context() as patch:
            patch.setattr(NoteService, "vectors", _none)
            await embed(client, NOTES)
            move = (await runtime.index.describe()).migration
            assert move is not None
            await _die_while_finishing(runtime, move.target, move.source)
    async with serving(settings_for(checkpoint=next_path)) as (runtime, client):
        await _dropped(runtime)
        await assert_answers_by(client, next_path, NOTES)


async def _dropped(runtime: Runtime) -> None:
    """Waits until no vectors are on their way out any more."""

    async def nothing_left() -> bool:
        return (await runtime.index.describe()).dropping is None

    await until(nothing_left)


async def _die_while_finishing(runtime: Runtime, keep: ModelVectors, drop: ModelVectors) -> None:
    """What the description says when the old model's vectors are about to go."""
    await runtime.index.describe_as(
        Description(vector=keep.vector, dimensions=keep.dimensions, checkpoint=keep.checkpoint, dropping=drop.vector)
    )


async def test_a_drop_that_failed_does_not_take_the_vectors_of_the_next_migration(
    settings_for: Make, next_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_self: EdgeIndex, _name: str) -> None:
        raise IndexUnavailable("as the test wants it")

    async with serving(settings_for()) as (runtime, client):
        await embed(client, NOTES)
        await start(client, next_path)
        await reach(client, "filled")
        with monkeypatch.context() as patch:
            patch.setattr(EdgeIndex, "drop", away)
            assert (await client.post("/admin/migration/cancel")).status_code == 503
        assert (await runtime.index.describe()).dropping is not None
        await start(client, next_path)
        await reach(client, "filled")
        assert (await runtime.index.describe()).dropping is None
        await change(client, "switch")
        await assert_answers_by(client, next_path, NOTES)
    async with serving(settings_for()) as (_, client):
        await assert_answers_by(client, next_path, NOTES)


async def test_a_drop_that_failed_is_tried_again(
    settings_for: Make, next_path: Path, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_manager, "FOLLOW_SECONDS", 0.1)
    dropped, drop = 0, EdgeIndex.drop

    async def away_once(self: EdgeIndex, name: str) -> None:
        nonlocal dropped
        dropped += 1
        if dropped == 1:
            raise IndexUnavailable("as the test wants it")
        await drop(self, name)

    monkeypatch.setattr(EdgeIndex, "drop", away_once)
    async with serving(settings_for()) as (runtime, client):
        await embed(client, NOTES)
        await start(client, next_path)
        await reach(client, "filled")
        assert (await client.post("/admin/migration/cancel")).status_code == 503
        await _dropped(runtime)
        await assert_answers_by(client, tiny_path, NOTES)


async def test_one_model_at_a_time_is_loaded(
    client: httpx.AsyncClient, next_path: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    third = tmp_path / "third"
    InitialCheckpoint(base=str(tiny_base), output=third, name="third", dim=8, categories=("a", "b")).make()
    loading, go_on, load = asyncio.Event(), asyncio.Event(), ModelLoader.load

    async def held(self: ModelLoader, model: ModelVectors) -> LoadedModel:
        loading.set()
        await go_on.wait()
        return await load(self, model)

    monkeypatch.setattr(ModelLoader, "load", held)
    await start(client, next_path)
    await loading.wait()
    refused = await client.post("/admin/migration", json={"checkpoint": str(third)})
    assert refused.status_code == 409
    assert "is being loaded" in refused.json()["detail"]
    go_on.set()
    assert (await reach(client, "filled"))["target"]["vector"].startswith("next")


@pytest.mark.parametrize(
    "path", ["a\u0000b", "x" * 5000, "\ud800", "/proc/1/mem", ""], ids=["nul", "long", "surrogate", "file", "empty"]
)
async def test_what_is_no_path_is_refused(client: httpx.AsyncClient, path: str) -> None:
    refused = await client.post(
        "/admin/migration", content=json.dumps({"checkpoint": path}), headers={"Content-Type": "application/json"}
    )
    assert refused.status_code == 422, refused.text
    assert refused.json()["errors"][0]["field"] == "checkpoint"
