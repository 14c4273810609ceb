"""Two models side by side, as metrics show them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from notellm import Checkpoint
from notellm.prompt import NotePrompt
from service.caller import Caller, caller
from service.engines import Engine, open_engine
from service.errors import ModelFailed
from service.notes import NoteService
from service.serving import served
from service.serving.runtime import Runtime
from service.settings import Settings
from tests.clock import until
from tests.service.calls import NOTES, embed
from tests.service.serving.migrating import MANY, change, reach, serving, start


async def test_queues_of_two_models_are_one_number(runtime: Runtime, client: httpx.AsyncClient, next_path: Path) -> None:
    def shown() -> list[float | None]:
        return [
            runtime.metrics.registry.get_sample_value(f"notellm_queue_{name}", {"queue": "embed"})
            for name in ("tokens", "max_tokens")
        ]

    await embed(client, MANY)
    await start(client, next_path)
    await reach(client, "filled")
    assert shown() == [0, 2 * 131_072]
    await change(client, "cancel")
    assert shown() == [0, 131_072]


async def test_nobody_asks_for_the_vectors_of_the_other_model(
    client: httpx.AsyncClient, next_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a queue refuses them, no request is refused."""
    asking: list[Caller] = []

    async def vectors(_self: NoteService, _notes: object) -> Any:
        asking.append(caller.get())
        raise ModelFailed("as the test wants it")

    monkeypatch.setattr(NoteService, "vectors", vectors)
    await start(client, next_path)
    await reach(client, "filled")
    await embed(client, NOTES)
    await until(lambda: len({seen.client for seen in asking}) == 2)  # the request's and the back-fill
    assert all(seen.background for seen in asking)


async def test_restarts_of_engines_are_counted_through_a_switch_and_back(
    settings_for: Callable[..., Settings], next_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the model that answers they would fall to 0 and rise again, which looks like an engine that ends again and again."""

    async def opening(
        settings: Settings, checkpoint: Checkpoint, prompt: NotePrompt, restarted: Callable[[], None], **_named: bool
    ) -> Engine:
        if checkpoint.path != next_path:
            for _time in range(3):
                restarted()
        return await open_engine(settings, checkpoint, prompt)

    monkeypatch.setattr(served, "open_engine", opening)
    shown: list[float | None] = []
    async with serving(settings_for()) as (runtime, client):
        await start(client, next_path)
        await reach(client, "filled")
        for step in ("switch", "rollback"):
            await change(client, step)
            shown.append(runtime.metrics.registry.get_sample_value("notellm_engine_restarts_total"))
    assert shown == [3, 3]
