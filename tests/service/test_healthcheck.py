"""The container's health check, run like in the image, against a real server."""

import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from urllib.parse import urlsplit

import pytest

from harness.service import free_port


class Answering(HTTPServer):
    status = 200


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Answering)
        self.send_response(self.server.status if urlsplit(self.path).path == "/health/ready" else 404)
        self.end_headers()
        self.wfile.write(b'{"status": "failing", "detail": "the index"}')

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the library's name)
        pass


@pytest.fixture
def server() -> Iterator[Answering]:
    with Answering(("127.0.0.1", 0), _Handler) as serving:
        thread = Thread(target=serving.serve_forever)
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


def check(port: int) -> subprocess.CompletedProcess[str]:
    # There is no server at this proxy address: the check must not use the proxy.
    environment = {"NOTELLM_PORT": str(port), "HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    command = [sys.executable, "-m", "service.healthcheck"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_a_ready_service_is_healthy(server: Answering) -> None:
    outcome = check(server.server_port)
    assert (outcome.returncode, outcome.stderr) == (0, "")


def test_one_that_is_not_ready_says_why(server: Answering) -> None:
    server.status = 503
    outcome = check(server.server_port)
    assert outcome.returncode == 1
    assert "503: " in outcome.stderr
    assert "the index" in outcome.stderr


def test_one_that_does_not_answer_is_unhealthy() -> None:
    outcome = check(free_port())
    assert outcome.returncode == 1
    assert "no answer on port" in outcome.stderr
