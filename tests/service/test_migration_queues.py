"""The queues of two models side by side, as metrics show them."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.caller import Caller, caller
from service.errors import ModelFailed
from service.notes import NoteService
from service.runtime import Runtime
from tests.service.calls import NOTES, embed
from tests.service.migrating import MANY, change, reach, start


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
    async with asyncio.timeout(30):
        while len({seen.client for seen in asking}) < 2:  # the request's and the back-fill
            await asyncio.sleep(0.05)
    assert all(seen.unasked for seen in asking)
