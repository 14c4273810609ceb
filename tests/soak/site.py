"""`Site`: a service of the soak, in whichever process it is at the moment, and its keys."""

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from harness.service import RunningService, free_port, start_service
from service.security.keys import hash_key, new_key
from tests.soak.observations import Observations

START_SECONDS = 240
OPERATOR = "operator"
ROTATION_SECONDS = 120


class Keys:
    """A file of keys, one a client, which are changed while the service runs.

    Args:
        file: its place; it is replaced at once, never half written.
        clients: that have a key; `operator` may do everything, the others read and write.
    """

    def __init__(self, file: Path, clients: list[str]) -> None:
        self._file = file
        self._shown = {client: new_key() for client in [OPERATOR, *clients]}
        self._write([self._shown])

    @property
    def file(self) -> Path:
        """Its place."""
        return self._file

    def headers(self, client: str) -> dict[str, str]:
        """What a client sends at the moment."""
        return {"Authorization": f"Bearer {self._shown[client]}"}

    def rotate(self, accepted: Callable[[], int]) -> dict[str, str]:
        """As docs/security.md says: both keys, then the new one shown, then it alone. Returns the old ones."""
        old, new = self._shown, {client: new_key() for client in self._shown}
        self._write([old, new])
        _wait_until(lambda: accepted() == 2 * len(new), ROTATION_SECONDS, "the new keys are not read")
        self._shown = new
        time.sleep(3)  # for requests that have read the old ones
        self._write([new])
        _wait_until(lambda: accepted() == len(new), ROTATION_SECONDS, "the old keys are still accepted")
        return old

    def _write(self, generations: list[dict[str, str]]) -> None:
        lines = []
        for client in generations[0]:
            hashes = ", ".join(f'"{hash_key(keys[client])}"' for keys in generations)
            scopes = '"read", "write", "admin", "metrics"' if client == OPERATOR else '"read", "write"'
            lines.append(f"[{client}]\nsha256 = [{hashes}]\nscopes = [{scopes}]\n")
        partial = self._file.with_suffix(".partial")
        partial.write_text("\n".join(lines), encoding="utf-8")
        partial.replace(self._file)


def _wait_until(done: Callable[[], bool], seconds: float, complaint: str) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.1)


@dataclass
class Site:
    """A service and the address that its processes share.

    Attributes:
        life: which process it is.
    """

    name: str
    checkpoint: Path
    data_dir: Path
    seen: Observations
    keys: Keys | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    life: int = 0
    running: RunningService | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def service(self) -> RunningService:
        """The process."""
        assert self.running is not None
        return self.running

    def headers(self, client: str) -> dict[str, str]:
        """That a client has to send."""
        return self.keys.headers(client) if self.keys else {}

    def start(self) -> None:
        """Starts a process and waits until it is ready."""
        keys = {"NOTELLM_API_KEYS_FILE": str(self.keys.file)} if self.keys else {}
        self.running = start_service(
            self.checkpoint, self.data_dir, start_seconds=START_SECONDS, NOTELLM_PORT=str(self.port), NOTELLM_LOG_LEVEL="WARNING",
            **keys, **self.environment,
        )  # fmt: skip
        self.life += 1

    def stop(self, sent: signal.Signals = signal.SIGTERM) -> None:
        """Ends the process, which must end as it should."""
        code = self.service.stop(sent)
        if code != (0 if sent is signal.SIGTERM else -sent):
            self.seen.violations.append(f"{self.name}: exit code {code} after {sent.name}")

    def get(self, path: str, seconds: float = 30, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """A request of the operator's."""
        asking = self.headers(OPERATOR) if headers is None else headers
        return httpx.get(f"{self.url}{path}", headers=asking, timeout=seconds, trust_env=False)

    def metric(self, name: str) -> float:
        """The sum of a metric's values over its labels."""
        lines = self.get("/metrics").text.splitlines()
        values = [float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{"))]
        assert values, f"no metric {name}"
        return sum(values)

    def wait_until_ready(self, seconds: float) -> None:
        """After a fault."""
        _wait_until(lambda: self.get("/health/ready").status_code == 200, seconds, f"{self.name} does not get well again")
