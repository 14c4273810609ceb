"""More is asked of the service than it can do, for real: it must refuse the rest, and go on answering as much as before."""

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.load import OK, TOO_LATE, TOO_MANY, Outcome, Plan, poisson_arrivals, run_load
from benchmarks.served import Served, embed_bodies
from harness.service import RunningService, running_service
from notellm import Note

pytestmark = [pytest.mark.integration, pytest.mark.slow("overloads a service for most of a minute")]
DEADLINE = 1.0
SECONDS = 5.0
ROUNDS = 3
NOTES = [
    Note(id=f"n{number}", title=f"cold brew {number}", content="grind finer, steep longer " * (3 + number % 20))
    for number in range(40)
]


@pytest.fixture(scope="module")
def service(slow_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with running_service(slow_path, tmp_path_factory.mktemp("data")) as running:
        yield running


class Probe(threading.Thread):
    """Asks for liveness every now and then until it is stopped."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.statuses: list[int] = []
        self._url = url
        self._stop_now = threading.Event()

    def run(self) -> None:
        with httpx.Client(trust_env=False, timeout=30) as client:
            while not self._stop_now.wait(0.3):
                self.statuses.append(client.get(f"{self._url}/health/live").status_code)

    def stop(self) -> list[int]:
        self._stop_now.set()
        self.join()
        return self.statuses


def arrivals_of(service: RunningService, rate: float, seed: int) -> Plan:
    arrivals = poisson_arrivals(rate, SECONDS, seed)
    return Served(service).plan(embed_bodies(NOTES, 1), arrivals=arrivals, timeout=DEADLINE)


def goodput(outcome: Outcome) -> float:
    return outcome.goodput(DEADLINE, DEADLINE, SECONDS)


def test_overload_is_shed_and_costs_no_goodput(service: RunningService) -> None:
    busy = run_load(Served(service).plan(embed_bodies(NOTES, 1), clients=24, seconds=3))
    capacity = len(busy.answers) / busy.seconds
    once, fourfold, statuses = [], [], []
    for seed in range(ROUNDS):
        once.append(run_load(arrivals_of(service, capacity, seed)))
        probe = Probe(service.url)
        probe.start()
        fourfold.append(run_load(arrivals_of(service, 4 * capacity, seed)))
        statuses += probe.stop()

    for outcome in once + fourfold:
        assert {answer.status for answer in outcome.answers} <= {OK, TOO_MANY, TOO_LATE}
        refused = [answer.retry_after for answer in outcome.answers if answer.status == TOO_MANY]
        assert all(seconds is not None and seconds >= 1 for seconds in refused)
    assert all(outcome.count(TOO_MANY) > outcome.count(OK) for outcome in fourfold)
    assert set(statuses) == {200}
    at_once, at_fourfold = [goodput(outcome) for outcome in once], [goodput(outcome) for outcome in fourfold]
    assert sum(at_fourfold) >= 0.8 * sum(at_once) > 0, f"capacity {capacity:.1f}, goodput at 1x {at_once}, at 4x {at_fourfold}"

    answer = httpx.post(
        f"{service.url}/notes/embed", json={"notes": [{"id": "after", "title": "after the flood"}]}, timeout=30, trust_env=False
    )
    assert answer.status_code == 200
