"""Programs that tests run and that are no Python packages."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[1]


def missing(what: str) -> NoReturn:
    """Skips; in CI, which installs what it can, it fails."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def installed(command: str, package: str) -> str:
    """The path of a command."""
    return shutil.which(command) or missing(f"{command} is missing: apt-get install {package}")


def run(*command: str, timeout: float = 300, **environment: str) -> str:
    """What a command prints that runs in the repository's root and ends well."""
    variables = os.environ | environment
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout.strip()


def answers(*command: str, timeout: float = 300) -> bool:
    """Whether a command is there and ends well."""
    if not shutil.which(command[0]):
        return False
    return subprocess.run(command, capture_output=True, timeout=timeout, check=False).returncode == 0


def compose_command() -> tuple[str, ...]:
    """Compose in either of its forms; it reads files without an engine."""
    for command in (("docker", "compose"), ("docker-compose",)):
        if answers(*command, "version"):
            return command
    missing("neither `docker compose` nor `docker-compose` is installed: apt-get install docker-compose")
