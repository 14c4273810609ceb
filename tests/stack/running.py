"""`Stack`: a compose project with the embedded index, as a newcomer would run it, and with what is put over it."""

import json
import os
import re
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import httpx
import pytest

from harness.service import free_port
from tests.commands import ROOT, run
from tests.prometheus import RunningPrometheus

COMPOSE = ROOT / "deploy" / "compose"
EMBEDDED, MONITORING, KEYS = (COMPOSE / f"{name}.yml" for name in ("embedded", "monitoring", "keys"))
PORTS = ("NOTELLM_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT")
BUILD_SECONDS = 3600
START_SECONDS = 300


@dataclass(frozen=True)
class Stack:
    """A project of its own, so that runs side by side do not meet. Its variables are in a file, as docs/operations.md has it."""

    compose: tuple[str, ...]
    project: str
    variables: Mapping[str, str]
    env_file: Path
    files: tuple[Path, ...] = (EMBEDDED,)

    @classmethod
    def prepared(cls, compose: tuple[str, ...], folder: Path, *overlays: Path, **variables: str) -> Self:
        """One that is not running yet, with ports that are free.

        Args:
            compose: the command.
            folder: for the file of variables.
            overlays: files over that of the embedded index.
            variables: of the compose files.
        """
        variables |= {name: str(free_port()) for name in PORTS}
        file = folder / ".env"
        file.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
        return cls(compose, f"notellm-test-{uuid4().hex[:8]}", variables, file, (EMBEDDED, *overlays))

    def over(self, *overlays: Path) -> Self:
        """The same project with more in it."""
        return replace(self, files=(*self.files, *overlays))

    def __call__(self, *arguments: str, timeout: float = 120, **environment: str) -> str:
        files = [part for file in self.files for part in ("-f", str(file))]
        command = (*self.compose, "--env-file", str(self.env_file), "-p", self.project, *files, *arguments)
        return run(*command, timeout=timeout, **environment)

    def types(self, script: str, timeout: float = 120) -> str:
        """Commands of the documentation, by this project's name and ports; what they print."""
        own = {
            "docker compose": shlex.join(self.compose),
            "-p notellm ": f"-p {self.project} ",
            "http://127.0.0.1:8000": self.url,
        }
        for shown, used in own.items():
            script = script.replace(shown, used)
        script = re.sub(r"<address[^>]*>", shlex.quote(os.environ.get("TORCH_INDEX", "")), script)
        return run("bash", "-euc", script, timeout=timeout, **self.variables)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.variables['NOTELLM_PORT']}"

    @property
    def prometheus(self) -> RunningPrometheus:
        return RunningPrometheus(f"http://127.0.0.1:{self.variables['PROMETHEUS_PORT']}")

    @property
    def container(self) -> str:
        return self("ps", "-q", "service")

    def inspected(self, service: str) -> dict[str, Any]:
        """What the engine knows about a container."""
        (container,) = json.loads(run("docker", "inspect", self("ps", "-a", "-q", service)))
        assert isinstance(container, dict)
        return container

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{self.url}/health/ready", timeout=5).is_success:
                    return
            except httpx.TransportError:
                pass
            time.sleep(1)
        pytest.fail(f"not ready after {START_SECONDS} s:\n{self('logs', 'service')[-4000:]}")

    def wait_until_healthy(self, service: str) -> None:
        """By the container's own health check."""
        deadline = time.monotonic() + START_SECONDS
        while (health := self.inspected(service)["State"]["Health"])["Status"] != "healthy":
            assert time.monotonic() < deadline, f"{health}\n{self('logs', service)[-4000:]}"
            time.sleep(1)

    def stop(self) -> None:
        """Stops the service and looks at how it has ended."""
        self("stop", "service")
        state = self.inspected("service")["State"]
        assert (state["ExitCode"], state["OOMKilled"]) == (0, False), self("logs", "service")[-4000:]

    def printed(self, service: str) -> str:
        """What a container has printed that does its work and ends."""
        container = self("--profile", "demo", "ps", "-a", "-q", service)
        assert run("docker", "wait", container, timeout=START_SECONDS) == "0", run("docker", "logs", container)
        return run("docker", "logs", container)

    def leftovers(self) -> list[str]:
        """What of the project the engine still has."""
        label = f"label=com.docker.compose.project={self.project}"
        lists = (("container", "ls", "-a"), ("volume", "ls"), ("network", "ls"))
        return [found for kind in lists for found in run("docker", *kind, "-q", "--filter", label).split()]


def run_it() -> tuple[str, str, str, str]:
    """The README's commands of that section: what brings the stack up, fills it, sees that it is ready, and takes it down."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Run it\n")[2]
    *up, fill, ready, down = section.partition("```console\n")[2].partition("```")[0].splitlines()
    return "\n".join(up), fill, ready, down


@contextmanager
def taken_down(stack: Stack) -> Iterator[None]:
    """What runs is stopped in the end, and leaves nothing behind."""
    try:
        yield
        assert stack.leftovers()
        stack.stop()
    finally:
        every_part = stack if MONITORING in stack.files else stack.over(MONITORING)
        every_part("--profile", "demo", "down", "-v", "--remove-orphans")
    assert stack.leftovers() == []


@contextmanager
def brought_up(stack: Stack, *arguments: str) -> Iterator[None]:
    """A stack that runs, by its file of variables."""
    with taken_down(stack):
        stack("up", "-d", *arguments, timeout=BUILD_SECONDS)
        stack.wait_until_ready()
        yield
