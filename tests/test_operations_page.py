"""docs/operations.md: the tests run its commands word for word, like an operator, and every command is run by some test."""

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

from harness.processes import ROOT
from harness.service import START_SECONDS, free_port
from notellm import Checkpoint, PromptSettings
from service.settings import MIB, Settings
from tests.service.bulk.files import note, write_lines
from tests.service.notes.tagging import make_knowing
from tests.stack.test_keys import SCRIPT

PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
NEEDS = re.compile(r"# needs (a GPU|a Qdrant server|the images of Qdrant and Grafana)\b")
START = "NOTELLM_CHECKPOINT=checkpoints/mine notellm-serve"
COMPOSE = "docker compose -p notellm -f deploy/compose/embedded.yml"


def plain(block: str) -> list[str]:
    """Returns the commands of a block, without their comments."""
    return [re.sub(r"\s+# .*", "", line) for line in block.replace("\\\n", " ").splitlines()]


def commands() -> list[str]:
    """Returns the commands of the page that need no special hardware or server."""
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return [line for block in blocks if not NEEDS.match(block) for line in plain(block)]


def days() -> set[str]:
    """Returns the `notellm-serve` commands of the page."""
    return {command for command in commands() if "notellm-serve" in command.split()}


IMAGES, EMBEDDED, KEYS = (f"tests/stack/test_{name}.py" for name in ("images", "embedded", "keys"))
LOAD = "tests/load/test_mix.py"
# Commands that other tests run: the file of the test, and the code in it that runs the command.
ELSEWHERE = {
    "python3 -m venv .venv": (IMAGES, '"build", "--target", target'),
    ".venv/bin/pip install -c constraints/cpu.txt '.[service,map,tracing]'": (IMAGES, '"build", "--target", target'),
    "make load URL=http://127.0.0.1:8000 RATE=20 SECONDS=60": (LOAD, "URL=url, RATE=rate, SECONDS=SECONDS"),
    f"{COMPOSE} up --build": (EMBEDDED, 'f"{COMMAND} up --build --detach"'),
    f"{COMPOSE} down": (EMBEDDED, "stack.types(down)"),
    f"{COMPOSE} --profile demo up --build": (EMBEDDED, "{COMMAND} --profile demo up --build --detach"),
    f"{COMPOSE} run --rm fill": (EMBEDDED, "stack.types(fill, "),
    f"TORCH_INDEX=<address> {COMPOSE} up --build": (EMBEDDED, "TORCH_INDEX=<address> {COMMAND} --profile demo up --build"),
    f"{COMPOSE.replace('-p', '--env-file .env -p')} up --build": (KEYS, 'brought_up(stack, "--build"'),
    **dict.fromkeys(plain(SCRIPT), (KEYS, "script = SCRIPT.replace(")),
}


def test_every_command_is_run_or_marked() -> None:
    """`test_the_days_of_an_operator` runs the `notellm-serve` commands and checks at its end that it has run all of them."""
    assert set(commands()) - days() == ELSEWHERE.keys()
    for test, literal in ELSEWHERE.values():
        assert literal in (ROOT / test).read_text(encoding="utf-8"), (test, literal)


def test_the_installation_is_that_of_the_image() -> None:
    """tests/stack/ builds and runs the image."""
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    (install,) = re.findall(r"pip install .*-c \"\$CONSTRAINTS\" ('.*')", dockerfile)
    assert f".venv/bin/pip install -c constraints/cpu.txt {install}" in commands()
    (gpu,) = re.findall(r"pip install -c constraints/gpu.txt ('.*')", dockerfile)
    assert f"# needs a GPU\n.venv/bin/pip install -c constraints/gpu.txt {gpu}\n" in PAGE


def test_the_times_and_sizes_of_a_proxy_go_together() -> None:
    """`tests/deploy/test_nginx.py` runs the block."""
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    kept = [int(seconds) for seconds in re.findall(r"^\| .* \| (\d+) s .*\| nothing", PAGE, re.MULTILINE)]
    assert len(kept) == 3
    assert max(kept) < defaults["keep_alive_seconds"]
    (block,) = re.findall(r"^```nginx\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    (waits,), (size,) = re.findall(r"proxy_read_timeout (\d+)s", block), re.findall(r"client_max_body_size (\d+)m", block)
    assert int(waits) > defaults["request_timeout_seconds"]
    assert int(size) * MIB == defaults["max_body_bytes"]


class Operator:
    """Types commands in a directory that holds `checkpoints/mine` and `checkpoints/new`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{free_port()}"
        self.typed: set[str] = set()
        self._service: subprocess.Popen[bytes] | None = None
        beside = Path(sys.executable).parent
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("NOTELLM_")} | {
            "PATH": f"{beside}:{os.environ['PATH']}", "NOTELLM_PORT": self.url.rpartition(":")[2], "NOTELLM_ENGINE": "local",
        }  # fmt: skip

    def types(self, command: str, *, code: int = 0, checkpoint: str = "mine") -> str:
        """Runs a command of the page; returns what it prints."""
        assert command in commands(), f"not on the page: {command}"
        self.typed.add(command)
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=self._environment | {"NOTELLM_CHECKPOINT": f"checkpoints/{checkpoint}"},
            capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        printed = done.stdout + done.stderr
        assert done.returncode == code, f"{command}\n{printed}"
        return printed

    def starts(self, checkpoint: str = "mine") -> None:
        """Starts the service with the command of the page and waits until it is ready."""
        self.typed.add(START)
        command = START.replace("mine", checkpoint).replace("notellm-serve", "exec notellm-serve")
        log = self.folder / "service.log"
        with log.open("ab") as output:
            self._service = subprocess.Popen(
                ["bash", "-c", command], cwd=self.folder, env=self._environment, stdout=output, stderr=output
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._service.poll() is None:
            try:
                if httpx.get(f"{self.url}/health/ready", timeout=60, trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise AssertionError(log.read_text()[-3000:])

    def stops(self) -> int | None:
        """Stops the service if it runs; returns its exit code."""
        service, self._service = self._service, None
        if service is None:
            return None
        service.send_signal(signal.SIGTERM)
        return service.wait(300)

    def model(self) -> tuple[str, int]:
        """Returns the name of the model that answers and the number of stored notes."""
        found = httpx.get(f"{self.url}/model", timeout=60, trust_env=False).json()
        return found["name"], found["notes"]


@pytest.fixture
def operator(tmp_path: Path, tiny_base: Path, next_path: Path) -> "Operator":
    make_knowing(tmp_path / "checkpoints" / "mine", tiny_base, PromptSettings())
    shutil.copytree(next_path, tmp_path / "checkpoints" / "new")
    return Operator(tmp_path)


@pytest.mark.slow("every command of the page is a process")
def test_the_days_of_an_operator(operator: Operator) -> None:
    folder = operator.folder
    write_lines(folder / "notes.jsonl", [note(number, hashtags=["coffee"] * (number > 1)) for number in range(40)])
    mine, new = (Checkpoint.open(folder / "checkpoints" / name).manifest.name for name in ("mine", "new"))
    try:
        operator.starts()
        assert "40 stored" in operator.types("notellm-serve ingest notes.jsonl")
        assert "2 stored, 38 unchanged" in operator.types("notellm-serve ingest notes.jsonl --hashtags")
        assert operator.model() == (mine, 40)

        operator.types("notellm-serve migrate --to checkpoints/new")
        assert operator.model() == (new, 40)
        assert f"{new}-" in operator.types("notellm-serve migrate --status")
        operator.types("notellm-serve migrate --roll-back")
        assert operator.model() == (mine, 40)
        assert "switch first" in operator.types("notellm-serve migrate --finish", code=1)
        operator.types("notellm-serve migrate --to checkpoints/new")
        operator.types("notellm-serve migrate --finish")
        assert operator.model() == (new, 40)

        operator.types("notellm-serve export backup.jsonl.gz")
        assert "stop" in operator.types("notellm-serve optimize", code=1, checkpoint="new")
        assert operator.stops() == 0
        operator.types("notellm-serve optimize", checkpoint="new")

        # An upgrade must be undone, and the older release cannot read the index.
        (folder / "data").rename(folder / "data-of-before")
        operator.starts("new")
        assert operator.model() == (new, 0)
        assert "40 stored" in operator.types("notellm-serve import backup.jsonl.gz", checkpoint="new")
        assert operator.model() == (new, 40)
        assert operator.stops() == 0

        # Import a backup of one model into the index of another.
        (folder / "data").rename(folder / "data-of-new")
        operator.starts()
        assert "add --embed" in operator.types("notellm-serve import backup.jsonl.gz", code=1)
        assert "40 stored" in operator.types("notellm-serve import backup.jsonl.gz --embed")
        assert operator.model() == (mine, 40)
        assert operator.stops() == 0
    finally:
        operator.stops()
    assert operator.typed == days(), "nothing runs the others"
