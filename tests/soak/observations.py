"""`Observations`: what was asked and answered, which faults were declared, and what should not have been."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

BROKEN = 0
"""Stands for the status of a request whose connection broke."""
# What may come of a fault, on the service that has it; all else is a failure of the soak.
ALLOWED: dict[str, frozenset[int]] = {
    "SIGKILL": frozenset({BROKEN}),
    "SIGTERM": frozenset({BROKEN, 503}),
    "SIGSTOP": frozenset(
        {BROKEN}
    ),  # a connection that has been silent for five seconds is closed, also by a process that stood still
    "full disk": frozenset({507}),
    "burst": frozenset({429}),
    "Qdrant refuses": frozenset({503}),
    "Qdrant hangs": frozenset({503}),
}
# An answer that was on its way, a connection that is opened again.
GRACE_SECONDS = 1.0
REFUSALS = frozenset({BROKEN, 401, 403, 429})


@dataclass(frozen=True)
class Request:
    """One request, in seconds from the begin."""

    service: str
    kind: str
    status: int
    begun: float
    ended: float


@dataclass
class Window:
    """A fault from its begin to where everything is well again."""

    service: str
    kind: str
    begun: float
    ended: float = float("inf")

    def overlaps(self, begun: float, ended: float) -> bool:
        """Whether something may have suffered from it."""
        return begun < self.ended + GRACE_SECONDS and ended > self.begun


@dataclass(frozen=True)
class Sample:
    """What a process holds at a moment; `life` counts its processes, `live_seconds` is what `/health/live` took."""

    service: str
    life: int
    at: float
    resident_mib: float
    anonymous_mib: float
    descriptors: int
    threads: int
    queued_tokens: float
    live_seconds: float | None


@dataclass
class Observations:
    """Filled by many threads: appending to a list needs no lock."""

    origin: float = field(default_factory=time.monotonic)
    requests: list[Request] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Begins to count, and forgets what was before."""
        self.origin = time.monotonic()
        for kept in (self.requests, self.windows, self.samples, self.violations):
            kept.clear()

    def now(self) -> float:
        """Seconds from the begin."""
        return time.monotonic() - self.origin

    @contextmanager
    def window(self, service: str, kind: str) -> Iterator[None]:
        """Declares a fault."""
        window = Window(service, kind, self.now())
        self.windows.append(window)
        try:
            yield
        finally:
            window.ended = self.now()

    def answered(self, service: str, kind: str, begun: float, answer: httpx.Response | None) -> None:
        """Notes a request down; None where the connection broke."""
        status = BROKEN if answer is None else answer.status_code
        self.requests.append(Request(service, kind, status, begun, self.now()))
        if answer is not None and status >= 400 and answer.headers.get("Content-Type") != "application/problem+json":
            self.violations.append(f"{service}: {kind}: {status} is no problem+json: {answer.text[:200]}")

    def excused(self, request: Request) -> bool:
        """Whether a declared fault explains a status."""
        return any(
            window.service == request.service
            and request.status in ALLOWED.get(window.kind, ())
            and window.overlaps(request.begun, request.ended)
            for window in self.windows
        )

    def failures(self) -> list[Request]:
        """Requests with a 5xx, refused, or broken off."""
        return [
            request
            for request in self.requests
            if request.status >= 500 or (request.status in REFUSALS and request.kind != "hostile")
        ]

    def undeclared(self) -> list[Request]:
        """Those of them that no fault explains."""
        return [request for request in self.failures() if not self.excused(request)]

    def calm(self, service: str, kinds: Sequence[str]) -> list[Sample]:
        """Samples of a service outside certain faults."""
        stormy = [window for window in self.windows if window.service == service and window.kind in kinds]
        return [
            sample
            for sample in self.samples
            if sample.service == service
            and not any(window.overlaps(sample.at - (sample.live_seconds or 0), sample.at) for window in stormy)
        ]
