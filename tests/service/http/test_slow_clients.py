"""Connections on which no request begins, or none is finished."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from service.http import slow_clients
from service.http.slow_clients import SlowClientProtocol

HEAD_SECONDS = 0.4
MOST = 5
LARGE = 20_000_000  # more than the system buffers
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """As a refusal, the path `/unread` leaves the body where it is."""
    while scope["path"] != "/unread" and (await receive()).get("more_body"):
        pass
    body = b"x" * LARGE if scope["path"] == "/large" else b"ok"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(slow_clients, "HEAD_SECONDS", HEAD_SECONDS)
    monkeypatch.setattr(slow_clients, "UNREAD_SECONDS", HEAD_SECONDS)
    config = uvicorn.Config(answer, port=0, log_config=None, lifespan="off", http=SlowClientProtocol, limit_concurrency=MOST)
    server = uvicorn.Server(config)
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


@pytest.mark.parametrize("text", [b"b", b"body" * 100])
async def test_a_body_that_nobody_reads_does_not_keep_the_connection(text: bytes, port: int) -> None:
    """One byte of it ended uvicorn's own patience for ever."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
    assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
    assert await drip(reader, writer, text) < 2.5


async def test_after_a_body_that_nobody_read_another_request_may_come(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for path in (b"unread", b"unread", b"read"):
        writer.write(HEAD.replace(b"/", b"/" + path, 1) + b"\r\nbo")
        if path == b"unread":
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(HEAD_SECONDS * 0.7)
        writer.write(b"dy")
        if path == b"unread":
            await asyncio.sleep(HEAD_SECONDS * 0.7)
    assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_a_body_that_comes_slowly_is_waited_for(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEAD + b"\r\nbo")
    await asyncio.sleep(HEAD_SECONDS * 2)
    writer.write(b"dy")
    assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
    writer.close()


@pytest.mark.parametrize("requests", [1, 3])
async def test_who_does_not_read_the_answer_is_left(requests: int, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setblocking(False)
        client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n" * requests)
        await asyncio.sleep(HEAD_SECONDS * 4)
        received = 0  # what the system had taken
        while piece := await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 2**20), 2):
            received += len(piece)
    assert received < LARGE


async def test_who_reads_slowly_gets_the_answer(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**16)
    writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    start, received = time.monotonic(), 0
    while piece := await reader.read(2**20):
        received += len(piece)
        await asyncio.sleep(HEAD_SECONDS / 20)
    assert received > LARGE
    assert time.monotonic() - start > HEAD_SECONDS * 2
    writer.close()


@asynccontextmanager
async def connecting(
    port: int,
) -> AsyncIterator[Callable[[bytes], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]]:
    """Opens connections, sends what begins a request on each, and closes them at the end."""
    writers = []

    async def connect(text: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)
        writer.write(text)
        return reader, writer

    yield connect
    for writer in writers:
        writer.close()


SHORT = b"GET /unread HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_a_connection_too_many_takes_the_place_of_one_that_waits(port: int) -> None:
    async with connecting(port) as connect:
        busy = [await connect(HEAD + b"\r\nbo") for _ in range(2)]
        for _ in range(3 * MOST):
            reader, _ = await connect(SHORT)
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200"), "as a health check would ask"
        for reader, writer in busy:
            writer.write(b"dy")
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200"), "what is being answered stays"


async def test_where_all_are_busy_a_connection_too_many_is_closed(port: int) -> None:
    async with connecting(port) as connect:
        busy = [await connect(HEAD + b"\r\nbo") for _ in range(MOST)]
        await asyncio.sleep(0.1)
        reader, _ = await connect(b"")
        assert await asyncio.wait_for(reader.read(), HEAD_SECONDS / 2) == b""
        for reader, writer in busy:
            writer.write(b"dy")
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
