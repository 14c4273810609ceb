"""How the client reacts to a service that is busy, away or refuses. A server of the test itself gives the answers."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from harness.service import free_port
from notellm.client import BadRequest, Failed, ServiceProblem
from service.bulk.client import ServiceClient
from service.errors import CommandError
from tests.clock import until

Answer = tuple[int, dict[str, str], object]


class Pauses(list[float]):
    """How long a client has paused each time, in seconds. It need not wait until they have passed."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)
        await asyncio.sleep(0.01)


@asynccontextmanager
async def answering(
    answers: list[Answer], *, patience: float = 600, pauses: Pauses | None = None
) -> AsyncIterator[tuple[ServiceClient, list[bytes]]]:
    """Runs a server that gives the answers in order and repeats the last one; yields a client of it and the requests it received."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        status, headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
        content = json.dumps(body).encode() if not isinstance(body, bytes) else body
        lines = [f"HTTP/1.1 {status} x", f"content-length: {len(content)}", "connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + content)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        yield ServiceClient(http, patience=patience, sleep=Pauses() if pauses is None else pauses), requests


async def test_it_waits_as_long_as_it_is_told_and_comes_back() -> None:
    answers: list[Answer] = [
        (429, {"retry-after": "7"}, {"detail": "full"}), (503, {"retry-after": "0"}, {"detail": "starting"}), (200, {}, {"ok": 1}),
    ]  # fmt: skip
    pauses = Pauses()
    async with answering(answers, pauses=pauses) as (client, requests):
        assert await client.get("/model") == {"ok": 1}
    assert pauses == [7, 0]
    assert len(requests) == 3
    assert b"x-priority: bulk" in requests[0].lower()
    assert b"x-request-timeout: 1200.000" in requests[0].lower()


async def test_a_note_that_is_not_stored_is_found_as_none() -> None:
    async with answering(
        [
            (404, {}, {"type": "urn:notellm:problem:note-not-found", "detail": "not stored: a1"}),
            (200, {}, {"id": "a1"}),
            (422, {}, {}),
        ]
    ) as (
        client,
        requests,
    ):
        assert await client.find_note("a1") is None
        assert await client.find_note("a1") == {"id": "a1"}
        with pytest.raises(BadRequest, match="answers 422"):
            await client.find_note("a1")
    assert [request.split(b"\r\n", 1)[0] for request in requests] == [b"GET /notes/a1 HTTP/1.1"] * 3


async def test_its_patience_ends() -> None:
    async with answering([(503, {"retry-after": "0"}, {"detail": "starting"})], patience=0.3) as (client, _):
        with pytest.raises(
            CommandError, match=r"gave up, .* more than 0\.3 seconds of waiting: the service answers 503: starting"
        ):
            await client.get("/model")


@pytest.mark.parametrize("seconds", ["601", "86400"])
async def test_it_does_not_wait_for_what_comes_after_its_patience(seconds: str) -> None:
    busy: Answer = (429, {"retry-after": seconds}, {"detail": "full"})
    pauses = Pauses()
    async with answering([busy], pauses=pauses) as (client, requests):
        with pytest.raises(CommandError, match="more than 600 seconds of waiting: the service answers 429: full"):
            await client.get("/model")
    assert not pauses
    assert len(requests) == 1


async def test_a_service_that_is_away_for_a_moment_is_waited_for() -> None:
    port = free_port()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 x\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        pauses = Pauses()
        asking = asyncio.create_task(ServiceClient(http, patience=600, sleep=pauses).get("/model"))
        await until(lambda: len(pauses) > 1)
        assert not asking.done()
        async with await asyncio.start_server(serve, "127.0.0.1", port):
            assert await asking == {}


async def test_a_refusal_names_the_notes() -> None:
    errors = [
        {"field": "notes[3].title", "rule": "x", "message": "is too long"},
        {"field": "notes[3].content", "rule": "x", "message": "is too long, too"},
        {"field": "notes[12]", "rule": "x", "message": "is no note"},
        {"field": "notes", "rule": "x", "message": "are too many"},
    ]
    async with answering([(422, {}, {"detail": "wrong", "errors": errors})]) as (client, requests):
        with pytest.raises(ServiceProblem, match="the service answers 422: wrong") as refused:
            await client.post("/notes/embed", {})
    assert refused.value.reasons == {3: "title: is too long", 12: "is no note"}
    assert len(requests) == 1


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        ((401, {}, {"detail": "no key"}), CommandError, "refuses the API key: no key. Set NOTELLM_API_KEY"),
        ((502, {}, b"<html>bad gateway</html>"), Failed, "answers 502: <html>bad gateway"),
        ((404, {}, [1]), BadRequest, "answers 404"),
    ],
)
async def test_other_answers_end_it(answer: Answer, kind: type[Exception], message: str) -> None:
    async with answering([answer]) as (client, _):
        with pytest.raises(kind, match=message):
            await client.get("/model")
