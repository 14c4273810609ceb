"""The end of a process: what was accepted is answered, what is new is refused."""

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from harness.service import RunningService, running_service
from tests.clock import until_now

BODY = json.dumps({"notes": [{"id": "n1", "title": "sent in two halves"}]}).encode()


@contextmanager
def half_sent(service: RunningService) -> Iterator[socket.socket]:
    """A request of which the second half of the body is still to come."""
    host, port = service.url.removeprefix("http://").split(":")
    head = (
        f"POST /notes/embed HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(head.encode() + BODY[:20])
        until_now(lambda: "in_flight 2.0" in service.get("/metrics").text)  # it and this one
        yield connection


def refuses(service: RunningService) -> httpx.Response:
    """Its answer to a new request, as soon as it has seen the signal."""
    until_now(lambda: service.get("/notes/n1").status_code == 503)
    return service.get("/notes/n1")


def test_a_draining_process_answers_what_it_accepted_and_takes_nothing_new(tiny_path: Path, tmp_path: Path) -> None:
    with running_service(tiny_path, tmp_path) as service, half_sent(service) as connection:
        service.process.send_signal(signal.SIGTERM)
        refused = refuses(service)
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:notellm:problem:shutting-down")
        assert refused.headers["Connection"] == "close"
        assert service.get("/health/ready").status_code == 503
        assert service.get("/health/live").status_code == 200
        assert service.get("/metrics").status_code == 200
        connection.sendall(BODY[20:])
        assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")
        assert service.process.wait(120) == 0
    with running_service(tiny_path, tmp_path) as again:
        assert again.get("/notes/n1").json()["title"] == "sent in two halves"


def test_an_idle_process_ends_at_once(tiny_path: Path, tmp_path: Path) -> None:
    with running_service(tiny_path, tmp_path, NOTELLM_SHUTDOWN_SECONDS="3600") as service:
        assert service.stop(signal.SIGTERM) == 0


def test_a_drain_does_not_last_for_ever(tiny_path: Path, tmp_path: Path) -> None:
    with running_service(tiny_path, tmp_path, NOTELLM_SHUTDOWN_SECONDS="1") as service, half_sent(service) as connection:
        assert service.stop(signal.SIGTERM) == 0
        answer = connection.recv(10_000)
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"urn:notellm:problem:shutting-down" in answer


def test_a_second_signal_ends_the_wait(tiny_path: Path, tmp_path: Path) -> None:
    with running_service(tiny_path, tmp_path, NOTELLM_SHUTDOWN_SECONDS="3600") as service, half_sent(service):
        service.process.send_signal(signal.SIGINT)
        refuses(service)
        assert service.process.poll() is None
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(120) == 0
