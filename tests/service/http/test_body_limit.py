"""Bodies that are too large, one by one or all together."""

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from service.http import create_app
from service.http.body_limit import BodyLimit
from service.http.json_limits import JsonLimits
from service.serving import Runtime
from service.settings import Settings
from tests.clock import until
from tests.service.security.keyed import problem


async def test_a_body_over_the_limit(runtime: Runtime, settings_for: Callable[..., Settings]) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 100

    transport = httpx.ASGITransport(create_app(runtime, settings_for(max_body_bytes=1024)))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for refused in (
            await client.post("/notes/embed", json={"notes": [{"id": "x", "content": "x" * 2000}]}),
            await client.post("/notes/embed", content=chunks()),
            await client.post("/notes/embed", content=b"{}", headers={"Content-Length": "x"}),
        ):
            assert (refused.status_code, problem(refused)) == (413, "body-too-large")
        assert (await client.post("/notes/embed", json={"notes": [{"id": "x", "content": "x"}]})).status_code == 200


async def test_the_bodies_of_all_requests_have_so_much_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.http.body_limit.BODIES_AT_ONCE", 2)
    go_on = asyncio.Event()
    begun: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        begun.append(scope)
        await go_on.wait()
        await JSONResponse(None)(scope, receive, send)

    transport = httpx.ASGITransport(BodyLimit(JsonLimits(app), 100))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        body = b'"' + b"x" * 98 + b'"'
        for _ in range(2):
            go_on.clear()
            begun.clear()
            held = [asyncio.create_task(client.post("/x", content=body)) for _ in range(2)]
            await until(lambda: len(begun) == 2)
            refused = await client.post("/x", content=b"1")
            assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
            go_on.set()
            assert [answer.status_code for answer in await asyncio.gather(*held)] == [200, 200]
            assert (await client.post("/x", content=body)).status_code == 200
