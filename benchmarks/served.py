"""A running service for benchmarks: a real process, the CPU time of its threads, and its own metrics."""

import json
import os
import re
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import Plan
from harness.service import RunningService, running_service
from notellm.note import Note

TICKS = os.sysconf("SC_CLK_TCK")
_VALUE = re.compile(r"^(notellm_\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class CpuTime:
    """CPU time of a process, in seconds.

    Attributes:
        loop: the main thread, which runs the event loop.
        others: the other threads: the forward pass and tokenization.
    """

    loop: float
    others: float

    def since(self, earlier: "CpuTime") -> "CpuTime":
        """The CPU time between the two measurements."""
        return CpuTime(self.loop - earlier.loop, self.others - earlier.others)


class Served:
    """A running service.

    Args:
        service: its process.
    """

    def __init__(self, service: RunningService) -> None:
        self._url = service.url
        self._process = service.process.pid

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, port = self._url.removeprefix("http://").split(":")
        return host, int(port)

    def plan(
        self,
        bodies: Sequence[str],
        *,
        clients: int = 0,
        requests: int | None = None,
        seconds: float | None = None,
        arrivals: Sequence[float] = (),
        timeout: float | None = None,
    ) -> Plan:
        """A plan of requests that embed without storing; see `Plan`."""
        host, port = self.address
        return Plan(
            host, port, "/notes/embed", bodies, clients=clients, requests=requests, seconds=seconds, arrivals=arrivals,
            timeout=timeout,
        )  # fmt: skip

    def cpu(self) -> CpuTime:
        """The CPU time so far, to a hundredth of a second."""
        taken = {task.name: _seconds(task / "stat") for task in Path(f"/proc/{self._process}/task").iterdir()}
        loop = taken.pop(str(self._process))
        return CpuTime(loop, sum(taken.values()))

    def metrics(self) -> dict[str, float]:
        """Sums and counts from `/metrics` for the embedding queue, or for the route of the requests."""
        with urllib.request.urlopen(f"{self._url}/metrics") as answer:  # noqa: S310 -- http, on this machine
            text = answer.read().decode()
        wanted = ('queue="embed"', 'route="/notes/embed"')
        return {name: float(value) for name, labels, value in _VALUE.findall(text) if any(label in labels for label in wanted)}


@contextmanager
def served(checkpoint: Path) -> Iterator[Served]:
    """Runs `notellm-serve` with the checkpoint and an empty index during a `with` block."""
    with tempfile.TemporaryDirectory() as folder, running_service(checkpoint, Path(folder)) as service:
        yield Served(service)


def embed_bodies(notes: Sequence[Note], size: int) -> list[str]:
    """Bodies of requests that embed `size` notes each without storing them; the last may have fewer notes."""
    sent = [note.model_dump(mode="json", exclude_none=True) for note in notes]
    return [json.dumps({"notes": sent[start : start + size], "store": False}) for start in range(0, len(sent), size)]


def _seconds(stat: Path) -> float:
    fields = stat.read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
