"""What some tests need and `make install-dev` does not bring: whether it is here, and the command that brings it.

A test names it with the mark `needs`, for example `@pytest.mark.needs("promtool")`. Where it is missing the test is skipped, and the
end of the run says how many tests were skipped for want of what. With `NOTELLM_TEST_REQUIRE_ALL=1`, as in `.ci/run`, it fails instead.
"""

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[1]
STACKEXCHANGE = ROOT.parent / "shared" / "data" / "stackexchange-small"
MICROLENS = ROOT.parent / "shared" / "data" / "microlens-50k"
REQUIRE_ALL = "NOTELLM_TEST_REQUIRE_ALL"
REQUIRE_DOCKER = "NOTELLM_TEST_REQUIRE_DOCKER"
COMPOSE_COMMANDS = (("docker", "compose"), ("docker-compose",))


@dataclass(frozen=True)
class Requirement:
    """One thing that tests need.

    Attributes:
        missing: says that it is not here.
        command: brings it.
        is_here: looks.
        required_by: a test fails without it where this environment variable is set; nobody promises it if not given.
    """

    missing: str
    command: str
    is_here: Callable[[], bool]
    required_by: str | None = REQUIRE_ALL

    @property
    def reason(self) -> str:
        return f"{self.missing}: {self.command}"


def answers(*command: str, timeout: float = 300) -> bool:
    """Whether a command is there and ends well."""
    if not shutil.which(command[0]):
        return False
    return subprocess.run(command, capture_output=True, timeout=timeout, check=False).returncode == 0


def can_mount() -> bool:
    """Whether a disk can be mounted here. Root in a container often cannot."""
    with tempfile.TemporaryDirectory() as place:
        if not answers("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place):
            return False
        subprocess.run(["umount", "--lazy", place], check=True)
    return True


def _program(name: str, package: str) -> Requirement:
    return Requirement(f"{name} is not installed", f"apt-get install {package}", lambda: shutil.which(name) is not None)


REQUIREMENTS = {
    "vllm": Requirement("vLLM is not installed", "make install-vllm", lambda: importlib.util.find_spec("vllm") is not None),
    "locust": Requirement("locust is not installed", "make install-load", (ROOT / ".venv-load" / ".done").exists),
    "clients": Requirement(
        "the clients of docs/api.md are not installed", "make install-clients", (ROOT / ".venv-clients" / ".done").exists
    ),
    "chromium": _program("chromium", "chromium"),
    "site": Requirement(
        "MkDocs is not installed",
        "make site",
        lambda: all(map(importlib.util.find_spec, ("mkdocs", "material", "mkdocstrings"))),
    ),
    "curl": _program("curl", "curl"),
    "java": _program("java", "openjdk-17-jdk-headless"),
    "prometheus": _program("prometheus", "prometheus"),
    "promtool": _program("promtool", "prometheus"),
    "strace": _program("strace", "strace"),
    "nginx": _program("nginx", "nginx-light"),
    "compose": Requirement(
        "Docker Compose is not installed",
        "apt-get install docker-compose",
        lambda: any(answers(*command, "version") for command in COMPOSE_COMMANDS),
    ),
    "mount": Requirement("only root can mount a disk", "sudo make test-faults", can_mount),
    "docker": Requirement(
        "no Docker engine answers `docker info`",
        "apt-get install docker.io",
        lambda: answers("docker", "info"),
        required_by=REQUIRE_DOCKER,
    ),
    "qdrant": Requirement(
        "NOTELLM_TEST_QDRANT_URL does not name a Qdrant server",
        "export NOTELLM_TEST_QDRANT_URL=http://127.0.0.1:6333",
        lambda: "NOTELLM_TEST_QDRANT_URL" in os.environ,
        required_by=None,
    ),
    "stackexchange": Requirement(
        "the Stack Exchange dumps are not in ../shared/data/stackexchange-small",
        "see demo/README.md",
        STACKEXCHANGE.is_dir,
        required_by=None,
    ),
    "microlens": Requirement(
        "the official files of MicroLens-50k are not in ../shared/data/microlens-50k",
        "see docs/data.md",
        MICROLENS.is_dir,
        required_by=None,
    ),
}

# By the mark of the test that runs.
_declared: set[str] = set()


@cache
def is_here(name: str) -> bool:
    """Whether a requirement is met. Looks once per process."""
    return REQUIREMENTS[name].is_here()


def missing(reason: str, required_by: str | None = REQUIRE_ALL) -> NoReturn:
    """Skips the running test, or fails it where what is missing was promised."""
    if required_by and os.environ.get(required_by):
        pytest.fail(f"{reason} ({required_by} is set)", pytrace=False)
    pytest.skip(reason)


def need(name: str) -> None:
    """Skips or fails the running test, unless the requirement is met. The test has to say so by its mark, by which it is selected."""
    if name not in _declared:
        pytest.fail(f'mark this test with @pytest.mark.needs("{name}")', pytrace=False)
    if not is_here(name):
        missing(REQUIREMENTS[name].reason, REQUIREMENTS[name].required_by)


def compose_command() -> tuple[str, ...]:
    """Compose in either of its forms; it reads files without an engine."""
    need("compose")
    return next(command for command in COMPOSE_COMMANDS if answers(*command, "version"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Looks at the mark `needs` before any fixture is made."""
    _declared.clear()
    _declared.update(name for mark in item.iter_markers("needs") for name in mark.args)
    for name in sorted(_declared):
        need(name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many tests were skipped, grouped by the reason."""
    reports = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in reports if isinstance(report.longrepr, tuple))
    if not reasons:
        return
    terminalreporter.section(f"{reasons.total()} tests skipped: what they need, and what brings it")
    for reason, number in reasons.most_common():
        terminalreporter.line(f"{number:5}  {reason}")
