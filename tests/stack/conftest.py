"""One stack for all tests of this folder that need no other: it is built, used, stopped and taken down."""

import os
from collections.abc import Iterator
from typing import NoReturn

import httpx
import pytest
import yaml

from tests.commands import ROOT, answers, compose_command
from tests.stack.running import BUILD_SECONDS, Stack, run_it, taken_down

PULL_SECONDS = 600


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
def _prometheus_image(compose: tuple[str, ...]) -> None:
    """The image that the compose files name is there. Where it cannot be pulled, .ci/run makes one of Debian's package."""
    image = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["prometheus"]["image"]
    if not answers("docker", "image", "inspect", image) and not answers("docker", "pull", image, timeout=PULL_SECONDS):
        _missing(f"{image} is not there and cannot be pulled")


@pytest.fixture(scope="session")
def stack(compose: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Brought up by the README's commands."""
    running = Stack.prepared(compose, tmp_path_factory.mktemp("stack"))
    with taken_down(running):
        running.types(run_it()[0], timeout=BUILD_SECONDS)
        running.wait_until_ready()
        yield running


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=120) as speaking:
        yield speaking
