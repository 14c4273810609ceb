"""Deadlines, clients that leave, and priorities, over a real HTTP server and the tiny model."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn

from service.caller import MAX_TIMEOUT_SECONDS
from service.http.app import create_app
from service.serving import open_service
from service.settings import Settings
from tests.clock import LoopTime, until
from tests.service.calls import NOTES
from tests.service.gate import Gate

TITLES = [{"id": str(number), "title": f"note {number}"} for number in range(3)]


@pytest.fixture
async def url(gate: Gate, settings_for: Callable[..., Settings]) -> AsyncIterator[str]:
    settings = settings_for(max_batch_tokens=64)  # one short note a batch
    async with open_service(settings) as runtime:
        app = create_app(runtime, settings)
        # It does not close idle connections when a test puts the clock forward.
        server = uvicorn.Server(
            uvicorn.Config(app, port=0, log_config=None, lifespan="off", timeout_keep_alive=MAX_TIMEOUT_SECONDS)
        )
        serving = asyncio.create_task(server.serve())
        await until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
        gate.open.set()
        server.should_exit = True
        await serving


@pytest.fixture
async def http(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=None) as speaking:
        yield speaking


def embed(http: httpx.AsyncClient, **headers: str) -> "asyncio.Task[httpx.Response]":
    body = {"notes": TITLES, "store": False}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return asyncio.create_task(http.post("/notes/embed", json=body, headers=named))


async def occupied(gate: Gate, http: httpx.AsyncClient) -> "asyncio.Task[httpx.Response]":
    """A request that the engine has begun with and does not end. Two of its three notes wait."""
    running = embed(http, X_Request_Timeout=str(MAX_TIMEOUT_SECONDS))
    await gate.wait_until_entered()
    return running


async def counted(http: httpx.AsyncClient, name: str) -> float:
    lines = (await http.get("/metrics")).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f'notellm_queue_{name}{{queue="embed"}}'))


@asynccontextmanager
async def queued(http: httpx.AsyncClient) -> AsyncIterator[None]:
    """Waits until the request that is sent inside is in the queue, with all of its notes."""
    before = await counted(http, "tokens")
    yield

    async def more() -> bool:
        return await counted(http, "tokens") > before

    await until(more)


async def test_after_its_deadline_a_request_is_answered_and_never_computed(
    gate: Gate, http: httpx.AsyncClient, loop_time: LoopTime
) -> None:
    running = await occupied(gate, http)
    async with queued(http):
        waiting = embed(http, X_Request_Timeout="600")
    loop_time.advance(600)
    late = await waiting
    assert (late.status_code, late.json()["type"]) == (504, "urn:notellm:problem:deadline-exceeded")
    assert "X-Request-Timeout" in late.json()["detail"]
    assert late.headers["X-Request-Id"] == late.json()["request_id"]
    assert await counted(http, "dropped_total") == 3
    gate.open.set()
    assert (await running).status_code == 200
    assert (await embed(http)).status_code == 200
    assert sum(gate.batches) == 6


async def test_the_work_of_a_client_that_left_is_never_computed(gate: Gate, url: str, http: httpx.AsyncClient) -> None:
    running = await occupied(gate, http)
    body = json.dumps({"notes": TITLES}).encode()
    host, port = url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"POST /notes/embed HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    async with queued(http):
        writer.write(head.encode() + body)
        await writer.drain()
    writer.close()

    async def dropped() -> bool:
        return await counted(http, "dropped_total") == 3

    await until(dropped)
    gate.open.set()
    assert (await running).status_code == 200
    assert (await embed(http)).status_code == 200
    assert sum(gate.batches) == 6
    metrics = (await http.get("/metrics")).text
    assert 'notellm_http_requests_total{method="POST",route="/notes/embed",status="499"} 1.0' in metrics


async def test_bulk_requests_let_others_go_first(gate: Gate, http: httpx.AsyncClient) -> None:
    running = await occupied(gate, http)
    done: list[str] = []
    waiting = {}
    async with queued(http):
        waiting["bulk"] = embed(http, X_Priority="bulk")
    async with queued(http):
        waiting["interactive"] = embed(http)
    for name, task in waiting.items():
        task.add_done_callback(lambda _, name=name: done.append(name))  # type: ignore[misc]
    gate.open.set()
    assert [response.status_code for response in await asyncio.gather(running, *waiting.values())] == [200, 200, 200]
    assert done == ["interactive", "bulk"]


async def test_a_body_that_is_refused_by_its_length_is_not_asked_for(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST /notes/embed HTTP/1.1\r\nHost: {host}\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n".encode()
    )
    await writer.drain()
    assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")  # the phrase is that of Python's release
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    ("header", "value", "rule"),
    [
        ("X-Request-Timeout", "soon", "float_parsing"), ("X-Request-Timeout", "0", "greater_than"),
        ("X-Request-Timeout", "-1", "greater_than"), ("X-Request-Timeout", "nan", "less_than_equal"),
        ("X-Request-Timeout", "1e9", "less_than_equal"), ("X-Priority", "urgent", "enum"),
    ],
)  # fmt: skip
async def test_wrong_headers_are_refused(client: httpx.AsyncClient, header: str, value: str, rule: str) -> None:
    response = await client.post("/notes/embed", json={"notes": NOTES[:1]}, headers={header: value})
    assert response.status_code == 422, response.text
    error = response.json()["errors"][0]
    assert (error["field"], error["rule"]) == (f"header.{header.lower()}", rule)
