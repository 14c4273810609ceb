"""Runs `notellm-serve` as an operator would: a process of its own, set by environment variables."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

# Of a machine that does other things, too: a process that has ended by itself is noticed at once.
START_SECONDS = 300


@dataclass(frozen=True)
class RunningService:
    """A service process, and where its log goes."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self, sent: signal.Signals = signal.SIGTERM) -> int:
        """Sends a signal and returns the exit code."""
        self.process.send_signal(sent)
        return self.process.wait(120)

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Sends a GET request, with a longer timeout than the client's default."""
        # `verify=False` spares the TLS context, which takes 30 ms per call to build and is not used.
        return httpx.get(f"{self.url}{path}", headers=headers, timeout=60, trust_env=False, verify=False)  # noqa: S501


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start_service(
    checkpoint: Path, data_dir: Path, *, start_seconds: float = START_SECONDS, **environment: str
) -> RunningService:
    """Starts the service and waits until it is ready."""
    port = int(environment.get("NOTELLM_PORT", free_port()))
    data_dir.mkdir(parents=True, exist_ok=True)
    log = data_dir / "service.log"
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith("NOTELLM_")},
        "NOTELLM_CHECKPOINT": str(checkpoint), "NOTELLM_DATA_DIR": str(data_dir), "NOTELLM_PORT": str(port),
        "NOTELLM_ENGINE": "local", **environment,
    }  # fmt: skip
    command = Path(sys.executable).with_name("notellm-serve")
    with log.open("ab") as output:
        process = subprocess.Popen([command], env=variables, stdout=output, stderr=output)
    service = RunningService(f"http://127.0.0.1:{port}", process, log)
    deadline = time.monotonic() + start_seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if service.get("/health/ready").status_code == 200:
                return service
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    process.kill()
    raise AssertionError(f"the service did not get ready:\n{log.read_text()[-3000:]}")


@contextmanager
def running_service(
    checkpoint: Path, data_dir: Path, *, start_seconds: float = START_SECONDS, **environment: str
) -> Iterator[RunningService]:
    """A service for the length of a `with` block."""
    service = start_service(checkpoint, data_dir, start_seconds=start_seconds, **environment)
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.stop()
