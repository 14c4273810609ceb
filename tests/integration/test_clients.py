"""The programs of docs/api.md under Clients, as they stand there, against a real service with keys."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.processes import ROOT
from harness.service import RunningService, running_service
from service.security.keys import Scope
from tests.service.security.keyed import KEYS, write_keys

pytestmark = pytest.mark.integration
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("\n## Clients\n")[2].partition("\n## ")[0]
PROGRAMS: dict[str, str] = dict(re.findall(r"^### (\S+)\n.*?^```\w+\n(.*?)^```", SECTION, re.DOTALL | re.MULTILINE))
PYTHON = ["openai", "langchain-openai", "llama-index-embeddings-openai-like", "litellm", "haystack-ai"]
ADDRESS, MODEL, KEY, DIMENSIONS = "127.0.0.1:8000", "smollm2-135m-stackexchange", "none", 48
# What they would ask the internet for before the first request.
QUIET = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "HAYSTACK_TELEMETRY_ENABLED": "False", "NO_PROXY": "127.0.0.1"}


@pytest.fixture(scope="module")
def keyed(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("keyed")
    with running_service(tiny_path, folder / "data", NOTELLM_API_KEYS_FILE=str(write_keys(folder / "keys.toml"))) as service:
        yield service


def program(name: str, service: RunningService) -> str:
    """A program of the page with the address, the key and the model of the test's service."""
    text = PROGRAMS[name]
    for shown, own in ((ADDRESS, service.url.removeprefix("http://")), (MODEL, "tiny")):
        assert text.count(shown) == 1, (name, shown)
        text = text.replace(shown, own)
    text, replaced = re.subn(rf'(?<=["\' ]){KEY}(?=["\'])', KEYS[Scope.READ], text)
    assert replaced == 1, name
    return text


def run(*command: str | Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | QUIET
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def dimensions(answer: str) -> int:
    """Of OpenAI's answer, as JSON."""
    (item,) = json.loads(answer)["data"]
    return len(item["embedding"])


def test_every_program_of_the_page_is_run() -> None:
    assert list(PROGRAMS) == [*PYTHON, "curl", "Java"]
    installed = re.search(r"constraints/clients.txt \\\n\t\t(.*)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert installed
    assert installed[1].split() == PYTHON
    versions = (ROOT / "constraints" / "clients.txt").read_text(encoding="utf-8")
    for package in PYTHON:
        assert re.search(rf"^{package}==", versions, re.MULTILINE)


@pytest.mark.needs("clients")
@pytest.mark.parametrize("name", PYTHON)
def test_a_python_client(name: str, keyed: RunningService, tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(program(name, keyed))
    assert run(ROOT / ".venv-clients" / "bin" / "python", file).split()[-1] == str(DIMENSIONS)


@pytest.mark.needs("curl")
def test_curl(keyed: RunningService) -> None:
    assert dimensions(run("bash", "-c", program("curl", keyed))) == DIMENSIONS


@pytest.mark.needs("java")
def test_java(keyed: RunningService, tmp_path: Path) -> None:
    file = tmp_path / "Embed.java"
    file.write_text(program("Java", keyed))
    assert dimensions(run("java", file)) == DIMENSIONS
