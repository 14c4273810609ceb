"""From one model to another while notes are stored, found and deleted."""

import asyncio
import gc
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.engines import LocalEngine
from service.errors import ModelFailed, StartupError
from service.index import Description
from service.notes import NoteService
from service.notes.embedder import NoteEmbedder
from service.serving.runtime import Runtime, open_service
from service.settings import Settings
from tests.clock import until
from tests.service.calls import NOTES, embed
from tests.service.security.keyed import problem
from tests.service.serving.migrating import MANY, assert_answers_by, change, reach, serving, start, vectors_by

Make = Callable[..., Settings]


async def test_the_whole_way(runtime: Runtime, client: httpx.AsyncClient, tiny_path: Path, next_path: Path) -> None:
    await embed(client, [*MANY[:-5], *NOTES])
    assert (await client.get("/admin/migration")).json()["phase"] == "none"
    await start(client, next_path)
    await client.delete("/notes/m0")
    await embed(client, MANY[-5:])
    state = await reach(client, "filled")
    assert (state["notes"], state["lacking"], state["failed"]) == (len(MANY) + len(NOTES) - 1, 0, 0)
    assert (state["source"]["checkpoint"], state["target"]["checkpoint"]) == (str(tiny_path), str(next_path))
    notes = [*MANY[1:], *NOTES]
    await assert_answers_by(client, tiny_path, notes)
    overlap = (await client.get("/admin/migration/overlap", params={"sample": 40, "k": 10})).json()
    assert overlap["notes"] == 40
    assert 10 / len(notes) < overlap["mean"] < 1

    assert (await change(client, "switch"))["phase"] == "switched"
    await assert_answers_by(client, next_path, notes)
    later = {"id": "later", "title": "after the switch"}
    assert len((await embed(client, [later]))[0]["vector"]) == 16
    assert (await client.delete("/notes/m1")).status_code == 204
    await change(client, "rollback")
    notes = [*MANY[2:], *NOTES, later]
    await assert_answers_by(client, tiny_path, notes)

    await change(client, "switch")
    state = await change(client, "finish")
    assert (state["phase"], state["notes"]) == ("none", len(notes))
    await assert_answers_by(client, next_path, notes)
    described = await runtime.index.describe()
    assert described == Description(vector=described.vector, dimensions=16, checkpoint=str(next_path))
    old = await runtime.index.get(["later"], with_vectors=True)
    assert old["later"].vector is None, "the old model's vectors are gone"
    assert (await client.get("/notes/m0")).status_code == (await client.get("/notes/m1")).status_code == 404


async def test_cancelling_leaves_what_was(
    runtime: Runtime, client: httpx.AsyncClient, tiny_path: Path, next_path: Path
) -> None:
    await embed(client, NOTES)
    before = await runtime.index.describe()
    await start(client, next_path)
    await reach(client, "filled")
    assert (await change(client, "cancel"))["phase"] == "none"
    assert await runtime.index.describe() == before.model_copy(update={"checkpoint": str(tiny_path)})
    await assert_answers_by(client, tiny_path, NOTES)


async def test_what_the_state_does_not_allow_is_refused(
    client: httpx.AsyncClient, tiny_path: Path, next_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await embed(client, NOTES)

    async def refused(path: str, says: str, status: int = 409, **body: object) -> None:
        answer = await client.post(f"/admin/migration{path}", json=body)
        assert answer.status_code == status, answer.text
        assert problem(answer) == ("migration-conflict" if status == 409 else "invalid-request")
        assert says in answer.json()["detail"]

    for path in ("/switch", "/rollback", "/finish", "/cancel"):
        await refused(path, "there is no migration: begin one with `notellm-serve migrate --to CHECKPOINT`")
    assert (await client.get("/admin/migration/overlap")).status_code == 409
    await refused("", "is served already", 422, checkpoint=str(tiny_path))
    await refused("", "no such directory", 422, checkpoint=str(tmp_path / "none"))
    await refused("", "share", 422, checkpoint=str(next_path), share=0)

    async def all_failed() -> bool:
        return bool((await client.get("/admin/migration")).json()["failed"] == len(NOTES))

    with monkeypatch.context() as patch:
        patch.setattr(NoteService, "vectors", _failing)
        await start(client, next_path)
        await reach(client, "filling")
        await until(all_failed)
        await refused("/switch", "4 of them cannot be embedded, and would not be found")
        await refused("/finish", "does not answer yet")
        await refused("", "a migration to next", checkpoint=str(tiny_path))
    await reach(client, "filled")
    await change(client, "switch")
    await change(client, "switch")
    await refused("/cancel", "already answers")


async def _never_ready(_self: NoteService, _notes: object) -> Any:
    await asyncio.Event().wait()


async def _failing(_self: NoteService, _notes: object) -> Any:
    raise ModelFailed("as the test wants it")


async def test_notes_are_stored_also_where_the_other_model_fails(
    runtime: Runtime, client: httpx.AsyncClient, next_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await start(client, next_path)
    await reach(client, "filled")
    with monkeypatch.context() as patch:
        patch.setattr(NoteService, "vectors", _failing)
        assert [note["status"] for note in await embed(client, NOTES)] == ["stored"] * 4

        async def all_are_known() -> bool:  # a pass that is under way may not have found them all
            refused = await client.post("/admin/migration/switch", json={})
            assert refused.status_code == 409, refused.text
            return "4 of them cannot be embedded" in refused.json()["detail"]

        await until(all_are_known)
        forced = await client.post("/admin/migration/switch", json={"force": True})
        assert forced.status_code == 200
        missing = await client.get("/notes/a1/similar")
        assert missing.status_code == 404
        assert "these notes have no vector of the served model yet" in missing.json()["detail"]
    _, by_target = runtime.migration.views()

    async def complete() -> bool:
        return await by_target.count(lacking=True) == 0

    await until(complete)
    await assert_answers_by(client, next_path, NOTES)


async def test_what_was_stored_by_one_model_only_has_both_vectors_before_the_other_answers(
    runtime: Runtime, client: httpx.AsyncClient, next_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await start(client, next_path)
    await reach(client, "filled")
    for loaded in runtime.migration._models.state.loaded:
        await loaded.back_fill.stop()
        monkeypatch.setattr(loaded.back_fill, "start", lambda: None)  # it rests for up to a minute when it is complete
    with monkeypatch.context() as patch:
        patch.setattr(NoteService, "vectors", _failing)
        await embed(client, NOTES)
    await change(client, "switch")
    await assert_answers_by(client, next_path, NOTES)


@pytest.mark.parametrize("error", [ValueError("cannot read zanzibar"), ModelFailed("as the test wants it")])
async def test_no_error_of_the_other_model_is_anothers(
    error: Exception, client: httpx.AsyncClient, next_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the request's, nor one that asyncio tells of, with all that it says, when it is thrown away."""
    await start(client, next_path)
    await reach(client, "filled")
    untold: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: untold.append(context))

    async def failing(*_: object) -> Any:
        raise error

    async def failing_later(*_: object) -> Any:
        await asyncio.sleep(0.05)
        raise ModelFailed("as the test wants it")

    with monkeypatch.context() as patch:
        patch.setattr(NoteService, "vectors", failing)
        assert [note["status"] for note in await embed(client, NOTES[:1])] == ["stored"]
        patch.setattr(NoteEmbedder, "embed", failing_later)
        answer = await client.post("/notes/embed", json={"notes": NOTES[1:]})
        assert problem(answer) == "model-failed"
    del answer
    gc.collect()
    assert not untold


async def test_a_request_under_way_is_finished_by_the_model_that_began_it(
    client: httpx.AsyncClient, next_path: Path, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await embed(client, NOTES)
    await start(client, next_path)
    await reach(client, "filled")
    original = LocalEngine.embed
    begun, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def held(self: LocalEngine, prompts: Any) -> Any:
        vectors = original(self, prompts)
        if vectors.shape[1] == 48:
            loop.call_soon_threadsafe(begun.set)
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
        return vectors

    monkeypatch.setattr(LocalEngine, "embed", held)
    late = {"id": "late", "title": "began before the switch"}
    under_way = asyncio.create_task(embed(client, [late]))
    await begun.wait()
    await change(client, "switch")
    assert len((await client.get("/notes/a1/similar")).json()["neighbours"]) == len(NOTES) - 1
    go_on.set()
    vector = (await under_way)[0]["vector"]
    np.testing.assert_allclose(vector, vectors_by(tiny_path, [late])["late"], atol=1e-5)
    await assert_answers_by(client, next_path, [*NOTES, late])


async def test_a_restart_goes_on_in_every_state(
    settings_for: Make, tiny_path: Path, next_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = settings_for(), settings_for(checkpoint=next_path)
    async with serving(both[0]) as (_, client):
        await embed(client, MANY)
        with monkeypatch.context() as patch:
            patch.setattr(NoteService, "vectors", _never_ready)
            await start(client, next_path)
            await reach(client, "filling")
    for settings in both:  # whichever is set meanwhile
        async with serving(settings) as (_, client):
            await assert_answers_by(client, tiny_path, MANY)
            await reach(client, "filled")
    async with serving(both[0]) as (_, client):
        await reach(client, "filled")
        await change(client, "switch")
        await embed(client, NOTES)
    for settings in both:
        async with serving(settings) as (_, client):
            await assert_answers_by(client, next_path, [*MANY, *NOTES])
    async with serving(both[0]) as (_, client):
        await change(client, "rollback", force=True)
        await assert_answers_by(client, tiny_path, [*MANY, *NOTES])
        await change(client, "switch", force=True)
        await change(client, "finish")
    with pytest.raises(
        StartupError, match=rf"serve NOTELLM_CHECKPOINT={next_path} and then run `notellm-serve migrate --to {tiny_path}`"
    ):
        async with open_service(both[0]):
            pass
    async with serving(both[1]) as (_, client):
        await assert_answers_by(client, next_path, [*MANY, *NOTES])


async def test_a_checkpoint_that_is_gone_stops_the_migration_and_not_the_service(
    settings_for: Make, tiny_path: Path, next_path: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    moved.symlink_to(next_path)
    async with serving(settings_for()) as (runtime, client):
        await embed(client, NOTES)
        await start(client, next_path)
        await reach(client, "filled")
        described = await runtime.index.describe()
        assert described.migration is not None
        lost = described.migration.target.model_copy(update={"checkpoint": str(tmp_path / "gone")})
        move = described.migration.model_copy(update={"target": lost})
        await runtime.index.describe_as(described.model_copy(update={"migration": move}))
    async with serving(settings_for()) as (_, client):
        await assert_answers_by(client, tiny_path, NOTES)
        state = (await client.get("/admin/migration")).json()
        assert "no such directory" in state["error"]
        refused = await client.post("/admin/migration/switch", json={})
        assert "is not loaded here" in refused.json()["detail"]
        await start(client, moved)
        await reach(client, "filled")
        await change(client, "switch")
        await assert_answers_by(client, next_path, NOTES)
    (tmp_path / "moved").unlink()


async def test_a_model_that_cannot_be_loaded_is_told(client: httpx.AsyncClient, next_path: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(next_path, broken)
    weights = bytearray((broken / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (broken / "model.safetensors").write_bytes(weights)
    await start(client, broken)
    assert "model.safetensors: was changed" in (await reach(client, "none"))["error"]
    await start(client, next_path)
    await reach(client, "filled")
