"""One stack for all tests of this folder that need no other: it is built, used, stopped and taken down."""

from collections.abc import Iterator

import httpx
import pytest
import yaml

from tests.commands import ROOT
from tests.requirements import REQUIRE_DOCKER, answers, compose_command, missing, need
from tests.stack.running import BUILD_SECONDS, Stack, run_it, taken_down

PULL_SECONDS = 600


@pytest.fixture(scope="session")
def compose() -> tuple[str, ...]:
    """The compose command of this machine."""
    need("docker")
    return compose_command()


@pytest.fixture(scope="session")
def _prometheus_image(compose: tuple[str, ...]) -> None:
    """The image that the compose files name is there. Where it cannot be pulled, .ci/run makes one of Debian's package."""
    image = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["prometheus"]["image"]
    if not answers("docker", "image", "inspect", image) and not answers("docker", "pull", image, timeout=PULL_SECONDS):
        missing(f"{image} is not there and cannot be pulled: docker pull {image}", REQUIRE_DOCKER)


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
