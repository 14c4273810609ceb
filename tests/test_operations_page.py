"""docs/operations.md: an operator's days by its own commands, word for word; and no command there that nothing runs."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from notellm import Checkpoint
from tests.processes import ROOT
from tests.service.bulk.files import note, write_lines
from tests.serving import START_SECONDS, free_port

PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
NEEDS = re.compile(r"# needs (a GPU|a Qdrant server|the images of Qdrant and Grafana)\b")
# What other tests run, by how it begins.
ELSEWHERE = {
    "python3.11 -m venv .venv": "tests/stack/test_images.py",
    ".venv/bin/pip install -c constraints/cpu.txt '.[service,tracing]'": "tests/stack/test_images.py",
    "make load": "tests/load/test_mix.py",
    "docker compose -p notellm -f deploy/compose/embedded.yml": "tests/stack/test_embedded.py",
    "docker compose --env-file .env -p notellm -f deploy/compose/embedded.yml": "tests/stack/running.py",
    "TORCH_INDEX=<address> docker compose": "tests/stack/test_embedded.py",
    **dict.fromkeys(("docker compose build", "mkdir", "docker run", "openssl", "printf", "chmod"), "tests/stack/test_keys.py"),
}
START = "NOTELLM_CHECKPOINT=checkpoints/mine notellm-serve"
DAYS = (
    "notellm-serve ingest",
    "notellm-serve export",
    "notellm-serve import",
    "notellm-serve migrate",
    "notellm-serve optimize",
)


def commands() -> list[str]:
    """Those that need nothing, without their comments."""
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks if not NEEDS.match(block) for line in block.replace("\\\n", " ").splitlines()]
    return [re.sub(r"\s+# .*", "", line) for line in lines]


def test_every_command_is_run_or_marked() -> None:
    assert len(commands()) > 15
    for command in commands():
        assert command == START or command.startswith((*DAYS, *ELSEWHERE)), f"nothing runs: {command}"
    for test in ELSEWHERE.values():
        assert (ROOT / test).is_file()


def test_the_installation_is_that_of_the_image() -> None:
    """Which is built and run by tests/stack/."""
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    (install,) = re.findall(r"pip install .*-c \"\$CONSTRAINTS\" ('.*')", dockerfile)
    assert f".venv/bin/pip install -c constraints/cpu.txt {install}" in commands()
    (gpu,) = re.findall(r"pip install -c constraints/gpu.txt ('.*')", dockerfile)
    assert f"# needs a GPU\n.venv/bin/pip install -c constraints/gpu.txt {gpu}\n" in PAGE


class Operator:
    """Types commands in a directory that holds `checkpoints/mine` and `checkpoints/new`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{free_port()}"
        self._service: subprocess.Popen[bytes] | None = None
        beside = Path(sys.executable).parent
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("NOTELLM_")} | {
            "PATH": f"{beside}:{os.environ['PATH']}", "NOTELLM_PORT": self.url.rpartition(":")[2], "NOTELLM_ENGINE": "local",
        }  # fmt: skip

    def types(self, begins: str, *, code: int = 0, checkpoint: str = "checkpoints/mine") -> str:
        """The page's command that begins so; what it prints."""
        command = next(command for command in commands() if command == begins or command.startswith(f"{begins} "))
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=self._environment | {"NOTELLM_CHECKPOINT": checkpoint},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        printed = done.stdout + done.stderr
        assert done.returncode == code, f"{command}\n{printed}"
        return printed

    def starts(self, command: str) -> None:
        """A service, and waits until it is ready."""
        log = self.folder / "service.log"
        with log.open("ab") as output:
            self._service = subprocess.Popen(
                ["bash", "-c", command.replace("notellm-serve", "exec notellm-serve")],
                cwd=self.folder, env=self._environment, stdout=output, stderr=output,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._service.poll() is None:
            try:
                if httpx.get(f"{self.url}/health/ready", timeout=5, trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise AssertionError(log.read_text()[-3000:])

    def stops(self) -> int | None:
        """The service, if one runs; its exit code."""
        service, self._service = self._service, None
        if service is None:
            return None
        service.send_signal(signal.SIGTERM)
        return service.wait(60)

    def model(self) -> tuple[str, int]:
        """Which one answers, and how many notes there are."""
        found = httpx.get(f"{self.url}/model", trust_env=False).json()
        return found["name"], found["notes"]


@pytest.fixture
def operator(tmp_path: Path, tiny_path: Path, next_path: Path) -> "Operator":
    shutil.copytree(tiny_path, tmp_path / "checkpoints" / "mine")
    shutil.copytree(next_path, tmp_path / "checkpoints" / "new")
    return Operator(tmp_path)


def test_the_days_of_an_operator(operator: Operator) -> None:
    folder = operator.folder
    write_lines(folder / "notes.jsonl", [note(number) for number in range(40)])
    mine, new = (Checkpoint.open(folder / "checkpoints" / name).manifest.name for name in ("mine", "new"))
    try:
        operator.starts(START)
        assert "40 stored" in operator.types("notellm-serve ingest notes.jsonl")
        assert operator.model() == (mine, 40)

        operator.types("notellm-serve migrate --to")
        assert operator.model() == (new, 40)
        assert f"{new}-" in operator.types("notellm-serve migrate --status")
        operator.types("notellm-serve migrate --roll-back")
        assert operator.model() == (mine, 40)
        assert "switch first" in operator.types("notellm-serve migrate --finish", code=1)
        operator.types("notellm-serve migrate --to")
        operator.types("notellm-serve migrate --finish")
        assert operator.model() == (new, 40)

        operator.types("notellm-serve export")
        assert "stop" in operator.types("notellm-serve optimize", code=1, checkpoint="checkpoints/new")
        assert operator.stops() == 0
        operator.types("notellm-serve optimize", checkpoint="checkpoints/new")

        # An upgrade that has to go back, with an index that cannot be read.
        (folder / "data").rename(folder / "data-of-before")
        operator.starts(START.replace("mine", "new"))
        assert operator.model() == (new, 0)
        assert "40 stored" in operator.types("notellm-serve import backup.jsonl.gz", checkpoint="checkpoints/new")
        assert operator.model() == (new, 40)
        assert operator.stops() == 0
    finally:
        operator.stops()
