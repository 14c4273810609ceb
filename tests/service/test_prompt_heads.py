"""Connections on which no request begins, or none is finished."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from service import prompt_heads
from service.prompt_heads import PromptHeads

HEAD_SECONDS = 0.4
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(prompt_heads, "HEAD_SECONDS", HEAD_SECONDS)
    server = uvicorn.Server(uvicorn.Config(answer, port=0, log_config=None, lifespan="off", http=PromptHeads))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await serving


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: bytes) -> float:
    """Sends a byte at a time, for up to three seconds; returns when the other side closed."""
    start = time.monotonic()
    closed = asyncio.create_task(reader.read())
    position = 0
    while not closed.done() and time.monotonic() - start < 3:
        writer.write(text[position : position + 1])
        position += 1
        await asyncio.wait([closed], timeout=0.05)
    writer.close()
    assert closed.done(), "the connection was not closed"
    return time.monotonic() - start


@pytest.mark.parametrize(("text", "before"), [(b"", False), (HEAD * 100, False), (HEAD * 100, True)])
async def test_a_head_that_does_not_come_ends_the_connection(text: bytes, before: bool, port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    if before:
        writer.write(HEAD + b"\r\nbody")
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(HEAD_SECONDS * 2)
    assert await drip(reader, writer, text) < 2.5


async def test_a_body_that_comes_slowly_is_waited_for(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEAD + b"\r\nbo")
    await asyncio.sleep(HEAD_SECONDS * 2)
    writer.write(b"dy")
    assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
    writer.close()
