"""`figures`: a soak as numbers: what is written down, and what the test looks at."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import median, quantiles
from typing import Any

from tests.soak.observations import Observations, Request, Sample

Figures = dict[str, Any]
# Ends and stops hold everything up, and are declared to.
STANDSTILLS = ("SIGKILL", "SIGTERM", "SIGSTOP")
# Of a life; and in seconds, for a long one.
WARM_UP_SHARE, WARM_UP_SECONDS = 0.25, 60.0
LEAST_SAMPLES = 8


def flatness(samples: Sequence[Sample]) -> list[Figures]:
    """For each life of a service: medians of the first and of the last quarter of what follows its warm-up."""
    lives: list[Figures] = []
    for life in sorted({sample.life for sample in samples}):
        mine = [sample for sample in samples if sample.life == life]
        begin, end = mine[0].at, mine[-1].at
        warm = [one for one in mine if one.at >= begin + min(WARM_UP_SECONDS, WARM_UP_SHARE * (end - begin))]
        if len(warm) < LEAST_SAMPLES:
            continue
        quarter = max(len(warm) // 4, 1)
        first, last = warm[:quarter], warm[-quarter:]
        lives.append(
            {
                "life": life,
                "seconds": round(end - begin, 1),
                "anonymous MiB": [round(median(one.anonymous_mib for one in part), 1) for part in (first, last)],
                "descriptors": [median(one.descriptors for one in part) for part in (first, last)],
                "threads": [median(one.threads for one in part) for part in (first, last)],
            }
        )
    return lives


def latencies(seconds: Sequence[float]) -> Figures:
    """Milliseconds."""
    if len(seconds) < 2:
        return {}
    cuts = quantiles(seconds, n=100, method="inclusive")
    values = {"p50": cuts[49], "p99": cuts[98], "max": max(seconds)}
    return {name: round(value * 1000, 1) for name, value in values.items()}


def figures(seen: Observations, seconds: float) -> Figures:
    """All of it; `series` is what `benchmarks/soak_plot.py` draws."""
    services = sorted({request.service for request in seen.requests})
    return {
        "seconds": seconds,
        "faults": dict(Counter(window.kind for window in seen.windows)),
        "services": {name: _service(seen, name) for name in services},
        "violations": seen.violations[:20] + [f"undeclared: {request}" for request in seen.undeclared()[:20]],
        "series": {
            "windows": [[w.service, w.kind, round(w.begun, 1), round(w.ended, 1)] for w in seen.windows],
            "services": {name: _series(seen, name, seconds) for name in services},
        },
    }


def _service(seen: Observations, name: str) -> Figures:
    requests = [request for request in seen.requests if request.service == name]
    failed = [request for request in seen.failures() if request.service == name]
    calm = [sample.live_seconds for sample in seen.calm(name, STANDSTILLS) if sample.live_seconds is not None]
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for request in requests:
        kinds[request.kind][_status(request)] += 1
    return {
        "requests": len(requests),
        "statuses by kind": {kind: dict(sorted(counts.items())) for kind, counts in sorted(kinds.items())},
        "declared failures": dict(Counter(_status(request) for request in failed if seen.excused(request))),
        "undeclared failures": sum(not seen.excused(request) for request in failed),
        "/health/live outside ends and stops, ms": latencies(calm),
        "lives": flatness(seen.calm(name, STANDSTILLS)),
    }


def _status(request: Request) -> str:
    return str(request.status) if request.status else "broken off"


def _series(seen: Observations, name: str, seconds: float) -> Figures:
    wide = max(1.0, seconds / 180)
    bins = int(seconds / wide) + 1
    rates: dict[str, list[float]] = defaultdict(lambda: [0.0] * bins)
    statuses: dict[str, list[int]] = defaultdict(lambda: [0] * bins)
    for request in seen.requests:
        place = int(request.ended / wide)
        if request.service == name and place < bins:
            rates[request.kind][place] += 1 / wide
            if request.status >= 400 or not request.status:
                statuses[_status(request)][place] += 1
    samples = [sample for sample in seen.samples if sample.service == name]
    return {
        "bin seconds": wide,
        "requests a second": {kind: [round(rate, 2) for rate in counts] for kind, counts in sorted(rates.items())},
        "statuses": dict(sorted(statuses.items())),
        "samples": {
            "at": [round(sample.at, 1) for sample in samples],
            "life": [sample.life for sample in samples],
            "resident MiB": [round(sample.resident_mib, 1) for sample in samples],
            "anonymous MiB": [round(sample.anonymous_mib, 1) for sample in samples],
            "descriptors": [sample.descriptors for sample in samples],
            "queued tokens": [sample.queued_tokens for sample in samples],
            "live ms": [None if sample.live_seconds is None else round(sample.live_seconds * 1000, 1) for sample in samples],
        },
    }
