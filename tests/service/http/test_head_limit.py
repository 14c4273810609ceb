"""Heads of requests that are too long or no heads at all, over a real connection."""

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from harness.service import RunningService, running_service
from service.http.head_limit import MAX_HEAD_BYTES
from tests.service.security.keyed import KEYS, write_keys

KEY = next(iter(KEYS.values())).encode()


@pytest.fixture(scope="module")
def service(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("heads")
    keys = write_keys(folder / "keys.toml")
    with running_service(tiny_path, folder / "data", NOTELLM_API_KEYS_FILE=str(keys), NOTELLM_LOG_LEVEL="DEBUG") as running:
        yield running
        assert running.get("/health/ready").status_code == 200
        assert KEY.decode() not in running.log.read_text()


def send(service: RunningService, head: bytes, endless: bytes = b"") -> tuple[bytes, int]:
    """The first line of the answer, and how many bytes were taken until then."""
    host, port = service.url.removeprefix("http://").split(":")
    sent = 0
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        try:
            connection.sendall(head)
            sent += len(head)
            while endless and sent < 64 * 2**20:
                sent += connection.send(endless * 100)
            answer = connection.recv(1000)
        except (ConnectionResetError, BrokenPipeError):
            return b"", sent
    return answer.partition(b"\r\n")[0], sent


def get(*headers: bytes, target: bytes = b"/model") -> bytes:
    return b"\r\n".join([b"GET " + target + b" HTTP/1.1", b"Host: x", b"X-API-Key: " + KEY, *headers, b"", b""])


def test_a_head_within_the_limit(service: RunningService) -> None:
    assert send(service, get(b"X-Long: " + b"x" * (MAX_HEAD_BYTES - 200)))[0].startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("head", [get(b"X-Long: " + b"x" * MAX_HEAD_BYTES), get(target=b"/model?" + b"x" * MAX_HEAD_BYTES),
                                  get(*[b"X-%d: x" % number for number in range(3000)])])  # fmt: skip
def test_a_head_over_the_limit(head: bytes, service: RunningService) -> None:
    status, _ = send(service, head)
    assert status[9:12] in {b"431", b"400", b""}, "at once, in pieces, or reset before the answer was read"


@pytest.mark.parametrize("endless", [b"x" * 1000, b"X-Header: x\r\n" * 50])
def test_a_head_without_an_end_is_not_kept(endless: bytes, service: RunningService) -> None:
    _, taken = send(service, b"GET /model HTTP/1.1\r\nX-Long: ", endless)
    assert taken < 32 * 2**20


@pytest.mark.parametrize(
    "garbage",
    [b"\x00\x01\x02\r\n\r\n", b"GET /model HTTP/1.1\r\n" + KEY + b"\r\n\r\n", KEY + b" / HTTP/1.1\r\n\r\n", b"GET " + KEY + b"\r\n\r\n",
     b"POST /notes/embed HTTP/1.1\r\nHost: x\r\nX-API-Key: " + KEY + b"\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
)  # fmt: skip
def test_what_is_no_head(garbage: bytes, service: RunningService) -> None:
    status, _ = send(service, garbage)
    assert status[9:10] == b"4", status


def test_nothing_is_upgraded(service: RunningService) -> None:
    head = get(b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: " + b"x" * 24)
    status, _ = send(service, head)
    assert not status.startswith(b"HTTP/1.1 101")


async def test_a_head_that_is_too_long_is_a_problem_document(client: httpx.AsyncClient) -> None:
    for response in (
        await client.get("/model", headers={"X-Long": "x" * MAX_HEAD_BYTES}),
        await client.get("/model", params={"q": "x" * MAX_HEAD_BYTES}),
        await client.get("/model", headers=[(f"X-{number}", "x" * 10) for number in range(2000)]),
        await client.get("/" + "x" * MAX_HEAD_BYTES),
    ):
        assert (response.status_code, response.json()["type"]) == (431, "urn:notellm:problem:head-too-large")
