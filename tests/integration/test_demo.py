"""`make demo` as a process of its own."""

import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest

from notellm import Checkpoint

from .conftest import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.slow("indexes the demo's notes")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_the_service_does_not_outlive_the_demo(smollm2: Checkpoint, number: signal.Signals) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/health/ready"
    demo = subprocess.Popen([sys.executable, "-m", "demo.run", "--port", str(port)], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        _wait_until_ready(url, demo)
        demo.send_signal(number)
        assert demo.wait(300) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(url, trust_env=False)
    finally:
        demo.kill()
        demo.wait()


def _wait_until_ready(url: str, demo: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        assert demo.poll() is None, "the demo ended by itself"
        try:
            if httpx.get(url, trust_env=False, timeout=60).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    pytest.fail("the demo was not ready after 600 s")
