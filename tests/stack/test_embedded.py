"""Builds the images, brings the compose stack with the embedded index up, and uses it as a newcomer would."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

import httpx
import pytest

pytestmark = pytest.mark.stack
ROOT = Path(__file__).parents[2]
EMBEDDED = ROOT / "deploy" / "compose" / "embedded.yml"
BUILD_SECONDS, START_SECONDS = 3600, 300
COLD_BREW = {
    "title": "Cold brew tastes sour",
    "content": "I steep coarse grounds for 12 hours. Grind finer or wait longer?",
}
PRESS = {"title": "Which grind for a French press?", "content": "My press gives muddy coffee, fines pass the filter."}
QUBIT = {"title": "Why does a noisy gate ruin my qubit?", "content": "Each gate adds error.", "hashtags": ["noise"]}
EMBED = {"notes": [COLD_BREW | {"id": "brew"}, PRESS | {"id": "press"}, QUBIT | {"id": "qubit"}]}


def _run(*command: str, timeout: float = 120, **environment: str) -> str:
    variables = os.environ | environment
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout.strip()


def _answers(*command: str) -> bool:
    return (
        bool(shutil.which(command[0])) and subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
    )


def _missing(what: str) -> NoReturn:
    """Skips, but fails where containers are promised to work, as in CI."""
    if os.environ.get("NOTELLM_TEST_REQUIRE_DOCKER"):
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="module")
def compose() -> tuple[str, ...]:
    """The compose command of this machine, in either of its forms."""
    if not _answers("docker", "info"):
        _missing("no Docker engine answers `docker info`")
    for command in (("docker", "compose"), ("docker-compose",)):
        if _answers(*command, "version"):
            return command
    _missing("neither `docker compose` nor `docker-compose` is installed")


@dataclass(frozen=True)
class Stack:
    """A project of its own, so that runs side by side do not meet."""

    compose: tuple[str, ...]
    project: str
    port: str

    def __call__(self, *arguments: str, timeout: float = 120) -> str:
        command = (*self.compose, "-p", self.project, "-f", str(EMBEDDED), *arguments)
        return _run(*command, timeout=timeout, NOTELLM_PORT=self.port)

    @cached_property
    def container(self) -> str:
        return self("ps", "-q", "service")

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}/health/ready", timeout=5).is_success:
                    return
            except httpx.TransportError:
                pass
            time.sleep(1)
        pytest.fail(f"not ready after {START_SECONDS} s:\n{self('logs', 'service')[-4000:]}")


@pytest.fixture(scope="module")
def stack(compose: tuple[str, ...]) -> Iterator[Stack]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    running = Stack(compose, f"notellm-test-{uuid4().hex[:8]}", port)
    try:
        running("up", "--build", "-d", timeout=BUILD_SECONDS)
        running.wait_until_ready()
        yield running
    finally:
        running("down", "-v", "--remove-orphans")


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{stack.port}", timeout=120) as speaking:
        yield speaking


def _ask(client: httpx.Client, method: str, path: str, **arguments: Any) -> Any:
    answer = client.request(method, path, **arguments)
    assert answer.is_success, answer.text
    return answer.json()


@pytest.mark.parametrize("file", [ROOT / "docker-compose.yml", EMBEDDED], ids=lambda path: path.stem)
def test_compose_accepts_the_file(compose: tuple[str, ...], file: Path) -> None:
    _run(*compose, "-f", str(file), "config", "-q")


def test_answers_the_three_calls(client: httpx.Client) -> None:
    embedded = _ask(client, "POST", "/notes/embed", json=EMBED)["notes"]
    assert [note["status"] for note in embedded] == ["stored"] * 3
    assert [sum(value**2 for value in note["vector"]) for note in embedded] == pytest.approx([1, 1, 1], abs=1e-5)
    similar = _ask(client, "GET", "/notes/brew/similar", params={"limit": 2})
    assert [note["id"] for note in similar["neighbours"]] == ["press", "qubit"]
    (note,) = _ask(client, "POST", "/notes/hashtags", json={"notes": [COLD_BREW], "count": 3})["notes"]
    assert 1 <= len(note["hashtags"]) <= 3


def test_container_is_locked_down(stack: Stack) -> None:
    (inspected,) = json.loads(_run("docker", "inspect", stack.container))
    assert inspected["HostConfig"]["ReadonlyRootfs"]
    assert inspected["HostConfig"]["PortBindings"]["8000/tcp"][0]["HostIp"] == "127.0.0.1"
    writable = "[place for place in ('/', '/checkpoint', '/data', '/tmp') if os.access(place, os.W_OK)]"
    probe = f"import os; print(os.getuid(), {writable})"
    assert _run("docker", "exec", stack.container, "python", "-c", probe) == "10001 ['/data', '/tmp']"


def test_no_acknowledged_note_is_lost_to_sigkill(stack: Stack, client: httpx.Client) -> None:
    _ask(client, "POST", "/notes/embed", json=EMBED)
    before = _ask(client, "GET", "/notes/brew/similar")
    _run("docker", "kill", "--signal", "KILL", stack.container)
    _run("docker", "start", stack.container)
    stack.wait_until_ready()
    assert _ask(client, "GET", "/notes/brew/similar") == before
    again = _ask(client, "POST", "/notes/embed", json=EMBED)["notes"]
    assert [note["status"] for note in again] == ["unchanged"] * 3
