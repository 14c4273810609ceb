"""`Stack`: the compose project with the embedded index, as a newcomer would run it."""

import time
from dataclasses import dataclass
from functools import cached_property

import httpx
import pytest

from tests.commands import ROOT, run

EMBEDDED = ROOT / "deploy" / "compose" / "embedded.yml"
START_SECONDS = 300


@dataclass(frozen=True)
class Stack:
    """A project of its own, so that runs side by side do not meet."""

    compose: tuple[str, ...]
    project: str
    port: str

    def __call__(self, *arguments: str, timeout: float = 120) -> str:
        command = (*self.compose, "-p", self.project, "-f", str(EMBEDDED), *arguments)
        return run(*command, timeout=timeout, NOTELLM_PORT=self.port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @cached_property
    def container(self) -> str:
        return self("ps", "-q", "service")

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

    def stop(self) -> None:
        """Stops the service and looks at how it has ended."""
        self("stop", "service")
        ended = run("docker", "inspect", "--format", "{{.State.ExitCode}} {{.State.OOMKilled}}", self.container)
        assert ended == "0 false", self("logs", "service")[-4000:]

    def leftovers(self) -> list[str]:
        """What of the project the engine still has."""
        label = f"label=com.docker.compose.project={self.project}"
        lists = (("container", "ls", "-a"), ("volume", "ls"), ("network", "ls"))
        return [found for kind in lists for found in run("docker", *kind, "-q", "--filter", label).split()]
