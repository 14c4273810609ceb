"""One stack for all tests of this folder: it is built, used, stopped and taken down."""

import os
import socket
from collections.abc import Iterator
from typing import NoReturn
from uuid import uuid4

import httpx
import pytest

from tests.commands import answers, compose_command
from tests.stack.running import Stack

BUILD_SECONDS = 3600


def _missing(what: str) -> NoReturn:
    """Skips, but fails where containers are promised to work, as in CI."""
    if os.environ.get("NOTELLM_TEST_REQUIRE_DOCKER"):
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def compose() -> tuple[str, ...]:
    """The compose command of this machine."""
    if not answers("docker", "info"):
        _missing("no Docker engine answers `docker info`")
    return compose_command()


@pytest.fixture(scope="session")
def stack(compose: tuple[str, ...]) -> Iterator[Stack]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    running = Stack(compose, f"notellm-test-{uuid4().hex[:8]}", port)
    try:
        running("up", "--build", "-d", timeout=BUILD_SECONDS)
        running.wait_until_ready()
        assert running.leftovers()
        yield running
        running.stop()
    finally:
        running("down", "-v", "--remove-orphans")
    assert running.leftovers() == []


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=120) as speaking:
        yield speaking
