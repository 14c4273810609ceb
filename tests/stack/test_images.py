"""The images by themselves: what is in them, as whom they run, how they end. Compose has built the first when these tests begin."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.platform import write_platform
from tests.requirements import need

pytestmark = [pytest.mark.stack, pytest.mark.needs("docker")]
ROOT = Path(__file__).parents[2]
BUILD_SECONDS = 3600
LOCKED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true")
BUILD_TOOLS = "cc gcc g++ c++ clang as ld make cmake ninja cargo"
BODY = json.dumps({"notes": [{"id": "n1", "title": "sent in two halves"}]}).encode()


def docker(*arguments: str, timeout: float = 120) -> str:
    command = ["docker", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout.strip()


@pytest.fixture(scope="module")
def image() -> Callable[[str], str]:
    """Builds a target; the name of the image."""
    need("docker")

    def build(target: str) -> str:
        name = f"notellm-test-{target}"
        index = f"TORCH_INDEX={os.environ.get('TORCH_INDEX', '')}"
        docker("build", "--target", target, "--tag", name, "--build-arg", index, ".", timeout=BUILD_SECONDS)
        return name

    return build


@pytest.fixture(scope="module")
def service(image: Callable[[str], str]) -> str:
    return image("service")


@pytest.fixture(scope="module")
def training(image: Callable[[str], str]) -> str:
    return image("training")


@pytest.fixture
def container(service: str, tiny_path: Path) -> Iterator[str]:
    """A running service on the tiny model; the container's id."""
    data = ("--tmpfs", "/data:uid=10001,gid=10001,mode=0700", "--publish", "127.0.0.1::8000")
    settings = ("--env", "NOTELLM_ALLOW_ANONYMOUS=true", "--volume", f"{tiny_path}:/checkpoint:ro")
    running = docker("run", "--detach", *LOCKED, *data, *settings, service)
    try:
        yield running
    finally:
        docker("rm", "--force", running)


def wait_until_healthy(container: str) -> None:
    deadline = time.monotonic() + 120
    while (state := docker("inspect", "--format", "{{.State.Health.Status}}", container)) != "healthy":
        assert time.monotonic() < deadline, f"{state}: {docker('logs', container)[-4000:]}"
        time.sleep(1)


def test_the_size_is_told(service: str, training: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name in (service, training):
        mebibytes = int(docker("image", "inspect", "--format", "{{.Size}}", name)) / 2**20
        with capsys.disabled():
            sys.stdout.write(f"\n{name}: {mebibytes:,.0f} MiB\n")
        assert mebibytes > 100, "torch alone is more"


def test_the_images_hold_no_build_tools(service: str, training: str) -> None:
    look = f"for tool in {BUILD_TOOLS}; do command -v $tool; done; exit 0"
    for name in (service, training):
        assert docker("run", "--rm", "--entrypoint", "sh", name, "-c", look) == ""
        assert docker("run", "--rm", "--entrypoint", "sh", name, "-c", "command -v python") == "/opt/notellm/bin/python"


def test_the_images_run_as_a_user_by_number(service: str, training: str) -> None:
    for name in (service, training):
        (inspected,) = json.loads(docker("image", "inspect", name))
        assert (inspected["Config"]["User"], inspected["Config"]["StopSignal"]) == ("10001:10001", "SIGTERM")


def test_a_stop_lets_the_container_answer_what_it_accepted(container: str) -> None:
    wait_until_healthy(container)
    host, port = docker("port", container, "8000").splitlines()[0].rsplit(":", 1)
    head = f"POST /notes/embed HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(head.encode() + BODY[:20])
        time.sleep(1)
        with subprocess.Popen(["docker", "stop", "--time", "30", container], stdout=subprocess.DEVNULL) as stopping:
            time.sleep(2)
            assert stopping.poll() is None, "it waits for the request"
            connection.sendall(BODY[20:])
            assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")
            assert stopping.wait(30) == 0
    ended: dict[str, Any] = json.loads(docker("inspect", "--format", "{{json .State}}", container))
    assert (ended["ExitCode"], ended["OOMKilled"]) == (0, False)


def test_training_runs_without_a_writable_root_or_a_network(training: str, tmp_path: Path) -> None:
    write_platform(tmp_path)
    tmp_path.chmod(0o755)
    for file in tmp_path.iterdir():
        file.chmod(0o644)
    run = ("run", "--rm", *LOCKED, "--network", "none", "--volume", f"{tmp_path}:/data:ro")
    facts = docker(*run, training, "validate", "--notes", "notes.jsonl", "--events", "events.csv")
    assert "notes                    80" in facts
    assert "users                    160" in facts
    # As deploy/training/job.yaml calls it.
    script = f"{ROOT / 'deploy' / 'training' / 'torchrun.sh'}:/config/torchrun.sh:ro"
    usage = (*run, "--volume", script, "--entrypoint", "bash", training, "-c")
    assert docker(*usage, "command -v torchrun; bash /config/torchrun.sh 2>&1 || exit $((64 - $?))").splitlines() == [
        "/opt/notellm/bin/torchrun",
        "usage: /config/torchrun.sh CONFIG OUTPUT",
    ]
