"""What is refused at once, before anything is done for it, where too much is waiting already."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from notellm.prompt import NotePrompt
from service.app import create_app
from service.runtime import Runtime, open_service
from service.settings import Settings
from tests.service.calls import NOTES, embed
from tests.service.gate import Gate
from tests.service.keyed import problem

Make = Callable[..., Settings]


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[tuple[Runtime, Callable[[str], httpx.AsyncClient]]]:
    """A service, and clients of it by their addresses."""
    async with open_service(settings) as runtime:
        app = create_app(runtime, settings)
        yield (
            runtime,
            lambda address: httpx.AsyncClient(
                transport=httpx.ASGITransport(app, client=(address, 1)), base_url="http://test", timeout=30
            ),
        )


async def test_notes_for_which_there_is_no_room_are_not_tokenised(
    gate: Gate, settings_for: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(settings_for(max_batch_tokens=64, max_queue_tokens=64)) as (_, of):
        anna, bob = of("192.0.2.1"), of("192.0.2.2")
        gate.open.set()
        await embed(anna, NOTES[:2])
        gate.open.clear()
        gate.entered.clear()
        held = [asyncio.create_task(bob.post("/notes/embed", json={"notes": [{"id": "x", "title": "x"}]}))]
        assert await asyncio.to_thread(gate.entered.wait, 5)
        held.append(asyncio.create_task(bob.post("/notes/embed", json={"notes": [{"id": "y", "title": "y"}]})))
        async with asyncio.timeout(5):
            while 'queue_tokens{queue="embed"} 0.0' in (await anna.get("/metrics")).text:
                await asyncio.sleep(0.02)
        seen: list[int] = []
        tokenize = NotePrompt.tokenize

        def counted(self: NotePrompt, notes: Any) -> Any:
            seen.append(len(notes))
            return tokenize(self, notes)

        monkeypatch.setattr(NotePrompt, "tokenize", counted)
        for store in (True, False):
            refused = await anna.post("/notes/embed", json={"notes": [*NOTES[:3], {"id": "z", "title": "z"}], "store": store})
            assert (refused.status_code, problem(refused)) == (429, "queue-full")
        assert not seen
        unchanged = await embed(anna, NOTES[:2])
        assert [note["status"] for note in unchanged] == ["unchanged"] * 2, "they need no room"
        gate.open.set()
        assert [answer.status_code for answer in await asyncio.gather(*held)] == [200, 200]
