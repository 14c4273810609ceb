"""Connections on which no request begins, or none is finished."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import h11
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from service.http import slow_clients
from service.http.slow_clients import SlowClientProtocol
from tests.clock import PATIENCE_SECONDS, LoopTime, until

LIMIT_SECONDS = 1000.0  # that only pass when a test lets them
KEEP_ALIVE_SECONDS = 100 * int(LIMIT_SECONDS)
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
async def server(monkeypatch: pytest.MonkeyPatch, loop_time: LoopTime) -> AsyncIterator[uvicorn.Server]:
    monkeypatch.setattr(slow_clients, "HEAD_SECONDS", LIMIT_SECONDS)
    monkeypatch.setattr(slow_clients, "UNREAD_SECONDS", LIMIT_SECONDS)
    config = uvicorn.Config(
        answer, port=0, log_config=None, lifespan="off", http=SlowClientProtocol, limit_concurrency=MOST,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )  # fmt: skip
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    yield server
    server.should_exit = True
    await serving


@pytest.fixture
def port(server: uvicorn.Server) -> int:
    found: int = server.servers[0].sockets[0].getsockname()[1]
    return found


async def arrived(server: uvicorn.Server, state: object, connections: int = 1) -> None:
    """Waits until so many clients have sent what leads to a state of their half of the connection."""

    def there() -> bool:
        states = [connection.conn.their_state for connection in server.server_state.connections]  # type: ignore[union-attr]
        return states.count(state) == connections

    await until(there)


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: bytes, loop_time: LoopTime) -> None:
    """Sends a byte at a time for twice the limit; the other side must close."""
    closed = asyncio.create_task(reader.read())
    for position in range(20):
        writer.write(text[position : position + 1])
        await asyncio.wait([closed], timeout=0.02)
        loop_time.advance(LIMIT_SECONDS / 10)
    await asyncio.wait([closed], timeout=PATIENCE_SECONDS)
    writer.close()
    assert closed.done(), "the connection was not closed"


@pytest.mark.parametrize(("text", "before"), [(b"", False), (HEAD * 100, False), (HEAD * 100, True)])
async def test_a_head_that_does_not_come_ends_the_connection(text: bytes, before: bool, port: int, loop_time: LoopTime) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    if before:
        writer.write(HEAD + b"\r\nbody")
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        loop_time.advance(LIMIT_SECONDS * 2)
    await drip(reader, writer, text, loop_time)


@pytest.mark.parametrize("text", [b"b", b"body" * 100])
async def test_a_body_that_nobody_reads_does_not_keep_the_connection(text: bytes, port: int, loop_time: LoopTime) -> None:
    """One byte of it ended uvicorn's own patience for ever."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
    assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
    await drip(reader, writer, text, loop_time)


async def test_after_a_body_that_nobody_read_another_request_may_come(
    port: int, server: uvicorn.Server, loop_time: LoopTime
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for path in (b"unread", b"unread", b"read"):
        writer.write(HEAD.replace(b"/", b"/" + path, 1) + b"\r\nbo")
        if path == b"unread":
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        await arrived(server, h11.SEND_BODY)
        loop_time.advance(LIMIT_SECONDS * 0.7)
        writer.write(b"dy")
        if path == b"unread":
            await arrived(server, h11.IDLE)
            loop_time.advance(LIMIT_SECONDS * 0.7)
    assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_a_body_that_comes_slowly_is_waited_for(port: int, server: uvicorn.Server, loop_time: LoopTime) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEAD + b"\r\nbo")
    await arrived(server, h11.SEND_BODY)
    loop_time.advance(LIMIT_SECONDS * 2)
    await asyncio.sleep(0.02)
    writer.write(b"dy")
    assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
    writer.close()


@pytest.mark.parametrize("requests", [1, 3])
async def test_who_does_not_read_the_answer_is_left(
    requests: int, port: int, server: uvicorn.Server, loop_time: LoopTime
) -> None:
    def left() -> bool:
        loop_time.advance(LIMIT_SECONDS)
        return not server.server_state.connections

    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setblocking(False)
        client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n" * requests)
        await until(lambda: any(one.flow.write_paused for one in server.server_state.connections))  # type: ignore[union-attr]
        await until(left)
        received = 0  # what the system had taken
        while piece := await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 2**20), PATIENCE_SECONDS):
            received += len(piece)
    assert received < LARGE


async def test_who_reads_slowly_gets_the_answer(port: int, loop_time: LoopTime) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**16)
    writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    start, received = loop_time(), 0
    while piece := await reader.read(2**20):
        received += len(piece)
        loop_time.advance(3 * LIMIT_SECONDS * len(piece) / LARGE)
        await asyncio.sleep(0)
    assert received > LARGE
    assert loop_time() - start > LIMIT_SECONDS * 2
    writer.close()


async def test_an_idle_connection_is_kept_until_the_server_s_own_limit(port: int, loop_time: LoopTime) -> None:
    """`NOTELLM_KEEP_ALIVE_SECONDS` of the service: the limits for slow clients do not count between two requests."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(3):
        writer.write(HEAD + b"\r\nbody")
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        loop_time.advance(KEEP_ALIVE_SECONDS - LIMIT_SECONDS)
        await asyncio.sleep(0.02)
    loop_time.advance(KEEP_ALIVE_SECONDS)
    assert await asyncio.wait_for(reader.read(), PATIENCE_SECONDS) == b"", "it is closed"
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


async def test_a_connection_too_many_takes_the_place_of_one_that_waits(port: int, server: uvicorn.Server) -> None:
    async with connecting(port) as connect:
        busy = [await connect(HEAD + b"\r\nbo") for _ in range(2)]
        await arrived(server, h11.SEND_BODY, len(busy))
        for _ in range(3 * MOST):
            reader, _ = await connect(SHORT)
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200"), "as a health check would ask"
        for reader, writer in busy:
            writer.write(b"dy")
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200"), "what is being answered stays"


async def test_where_all_are_busy_a_connection_too_many_is_closed(port: int, server: uvicorn.Server) -> None:
    async with connecting(port) as connect:
        busy = [await connect(HEAD + b"\r\nbo") for _ in range(MOST)]
        await arrived(server, h11.SEND_BODY, len(busy))
        reader, _ = await connect(b"")
        assert await asyncio.wait_for(reader.read(), PATIENCE_SECONDS) == b"", "long before the limit"
        for reader, writer in busy:
            writer.write(b"dy")
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
