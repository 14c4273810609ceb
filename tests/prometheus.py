"""A real Prometheus with the shipped configuration and rules. A test may change only its target, its key and its intervals."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from harness.service import free_port
from tests.commands import ROOT
from tests.requirements import need

SHIPPED = ROOT / "deploy" / "prometheus"
START_SECONDS = 120


@dataclass(frozen=True)
class RunningPrometheus:
    """A running Prometheus."""

    url: str

    def get(self, path: str, **parameters: str) -> Any:
        """Calls the API; returns the data of the answer."""
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=60, trust_env=False)
        assert answer.is_success, f"{parameters}: {answer.text}"
        return answer.json()["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Evaluates an expression now; returns a list of series, each with its value."""
        result: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return result

    def wait_for(self, expression: str, seconds: float) -> list[dict[str, Any]]:
        """Waits until an expression has a result, and returns it."""
        deadline = time.monotonic() + seconds
        while not (found := self.query(expression)):
            assert time.monotonic() < deadline, f"{expression} has given nothing for {seconds:g} s: {self.get('targets')}"
            time.sleep(0.5)
        return found

    def firing(self) -> dict[str, dict[str, str]]:
        """Returns the labels of each firing alert, by its name."""
        alerts = self.get("alerts")["alerts"]
        return {alert["labels"]["alertname"]: alert["labels"] for alert in alerts if alert["state"] == "firing"}


def write_configuration(folder: Path, target: str, *, key: str | None = None, seconds: float | None = None) -> Path:
    """Writes the shipped configuration and rules to a folder, with another target.

    Args:
        folder: the folder.
        target: host and port of the service.
        key: API key for a service that requires one.
        seconds: interval between scrapes and between evaluations; None keeps the shipped intervals.
    """
    content = yaml.safe_load((SHIPPED / ("prometheus-keys.yml" if key else "prometheus.yml")).read_text())
    shutil.copytree(SHIPPED / "rules", folder / "rules")
    (scrape,) = content["scrape_configs"]
    assert scrape["static_configs"] == [{"targets": ["service:8000"]}]
    scrape["static_configs"] = [{"targets": [target]}]
    if key:
        assert scrape["authorization"] == {"credentials_file": "/run/secrets/metrics_key"}
        (folder / "metrics_key").write_text(key + "\n")
        scrape["authorization"]["credentials_file"] = str(folder / "metrics_key")
    if seconds:
        content["global"] = {
            "scrape_interval": f"{seconds:g}s",
            "scrape_timeout": f"{seconds:g}s",
            "evaluation_interval": f"{seconds:g}s",
        }
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(content))
    return file


@contextmanager
def running_prometheus(
    folder: Path, target: str, *, key: str | None = None, seconds: float | None = None
) -> Iterator[RunningPrometheus]:
    """Runs a Prometheus for the duration of a `with` block. For the arguments see `write_configuration`."""
    need("prometheus")
    file = write_configuration(folder, target, key=key, seconds=seconds)
    address = f"127.0.0.1:{free_port()}"
    log = folder / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                "prometheus", f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={address}",
                "--log.level=warn",
            ],
            stdout=output, stderr=output,
        )  # fmt: skip
    try:
        _wait_until_ready(f"http://{address}", process, log)
        yield RunningPrometheus(f"http://{address}")
    finally:
        process.terminate()
        process.wait(30)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/-/ready", timeout=5, trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"Prometheus does not get ready:\n{log.read_text()[-3000:]}")
