"""What is refused at once, before anything is done for it, where too much is waiting already."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest

from notellm.prompt import NotePrompt
from service.caller import Caller, Priority, caller
from service.errors import QueueFull
from service.http.app import create_app
from service.index import EdgeIndex
from service.observability import Metrics
from service.queueing import SearchLimit
from service.serving import Runtime, open_service
from service.settings import Settings
from tests.clock import until
from tests.service.calls import NOTES, embed
from tests.service.gate import Gate
from tests.service.security.keyed import problem

Make = Callable[..., Settings]


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[tuple[Runtime, Callable[[str], httpx.AsyncClient]]]:
    """A service, and clients of it by their addresses."""
    async with open_service(settings) as runtime:
        app = create_app(runtime, settings)
        yield (
            runtime,
            lambda address: httpx.AsyncClient(transport=httpx.ASGITransport(app, client=(address, 1)), base_url="http://test"),
        )


async def test_notes_for_which_there_is_no_room_are_not_tokenised(
    gate: Gate, settings_for: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(settings_for(max_batch_tokens=64, max_queue_tokens=64)) as (runtime, of):
        anna, bob = of("192.0.2.1"), of("192.0.2.2")
        gate.open.set()
        await embed(anna, NOTES[:2])
        gate.open.clear()
        gate.entered.clear()
        held = [asyncio.create_task(bob.post("/notes/embed", json={"notes": [{"id": "x", "title": "x"}]}))]
        await gate.wait_until_entered()
        held.append(asyncio.create_task(bob.post("/notes/embed", json={"notes": [{"id": "y", "title": "y"}]})))
        await until(lambda: runtime.metrics.registry.get_sample_value("notellm_queue_tokens", {"queue": "embed"}) != 0)
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


async def test_searches_for_which_there_is_no_room_are_refused(settings_for: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(settings_for(max_searches=6)) as (runtime, of):
        anna, bob = of("192.0.2.1"), of("192.0.2.2")
        await embed(anna, NOTES)
        go_on, begun = asyncio.Event(), 0
        search = EdgeIndex.search

        async def slow(self: EdgeIndex, *what: Any, **more: Any) -> Any:
            nonlocal begun
            begun += 1
            await go_on.wait()
            return await search(self, *what, **more)

        monkeypatch.setattr(EdgeIndex, "search", slow)
        cold = {"note": {"title": "cold"}}
        asked = [asyncio.create_task(anna.get("/notes/a1/similar")) for _ in range(3)]
        asked.append(asyncio.create_task(anna.post("/notes/similar", json=cold)))
        await until(lambda: begun == 4)
        for refused in (await anna.get("/notes/a1/similar"), await anna.post("/notes/similar", json=cold)):
            assert (refused.status_code, problem(refused), refused.headers["Retry-After"]) == (429, "queue-full", "1")
        asked.append(asyncio.create_task(bob.get("/notes/a1/similar")))
        await until(lambda: begun == 5)
        assert (await anna.get("/notes/a1")).status_code == 200
        go_on.set()
        assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}
        assert (await anna.get("/notes/a1/similar")).status_code == 200
        assert runtime.metrics.registry.get_sample_value("notellm_queue_refused_total", {"queue": "search"}) == 2


def places(room: SearchLimit, client: str, kept: ExitStack, priority: Priority = Priority.INTERACTIVE) -> int:
    """How many a client gets, while nobody gives one back."""
    reset = caller.set(Caller(client, priority))
    try:
        for held in range(1000):
            try:
                kept.enter_context(room.place())
            except QueueFull:
                return held
    finally:
        caller.reset(reset)
    return 1000


@pytest.mark.parametrize(("most", "first", "second"), [(1, 1, 0), (10, 8, 1), (256, 204, 41)])
def test_a_clients_share_of_the_searches(most: int, first: int, second: int) -> None:
    room = SearchLimit(most, Metrics())
    with ExitStack() as kept:
        assert (places(room, "anna", kept), places(room, "bob", kept)) == (first, second)
    with ExitStack() as kept:
        assert places(room, "anna", kept, Priority.BULK) == max(most // 2, 1)
