"""A real `vllm serve` of a checkpoint, as docs/operations.md tells operators to start one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from harness.service import free_port
from service.settings import MIB

START_SECONDS = 600
FLAGS = (
    "--runner", "generate", "--host", "127.0.0.1", "--served-model-name", "notellm",
    "--max-logprobs", "256", "--logprobs-mode", "processed_logprobs", "--generation-config", "vllm",
    "--structured-outputs-config", '{"backend":"guidance"}',
    # For a CPU, and for little memory.
    "--dtype", "float32", "--max-model-len", "512", "--max-num-seqs", "64", "--enforce-eager", "--block-size", "32",
    "--kv-cache-memory-bytes", str(256 * MIB),
)  # fmt: skip
ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "2",
}  # fmt: skip


@dataclass(frozen=True)
class VllmServer:
    """A server process."""

    url: str
    process: subprocess.Popen[bytes]


@contextmanager
def vllm_server(checkpoint: Path, folder: Path, *flags: str) -> Iterator[VllmServer]:
    """Starts the server, waits until it answers, and ends it and what it has started.

    By its module, since the command `vllm` does not find its own version where the package is called vllm-cpu.
    """
    port = free_port()
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(checkpoint), "--port", str(port), *FLAGS, *flags,
    ]  # fmt: skip
    log = folder / "vllm.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=os.environ | ENVIRONMENT, stdout=output, stderr=output, start_new_session=True)
    server = VllmServer(f"http://127.0.0.1:{port}", process)
    try:
        _wait(server, log)
        yield server
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _wait(server: VllmServer, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.process.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(f"{server.url}/health", timeout=5, trust_env=False).status_code == 200:
                return
        time.sleep(0.5)
    raise AssertionError(f"vllm serve did not start:\n{log.read_text(errors='replace')[-3000:]}")
