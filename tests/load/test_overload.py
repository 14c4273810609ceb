"""More is asked of a real service than it can do: it refuses the rest before it does anything for it, and lives on.

How many it answers in time is a matter of speed: `benchmarks.http` measures it, and tests/service/queueing/batcher/test_overload.py
holds it fast for an engine of a known speed.
"""

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.load import OK, TOO_LATE, TOO_MANY, run_load
from benchmarks.served import Served, embed_bodies
from harness.service import RunningService, running_service
from notellm import Note

pytestmark = [pytest.mark.integration, pytest.mark.slow("overloads a real service")]
# More notes than may wait and run, on a machine of any speed.
CLIENTS, MAX_TOKENS = 64, "512"
NOTES = [
    Note(id=f"n{number}", title=f"cold brew {number}", content="grind finer, steep longer " * (3 + number % 20))
    for number in range(40)
]


@pytest.fixture(scope="module")
def service(slow_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with running_service(
        slow_path, tmp_path_factory.mktemp("data"), NOTELLM_MAX_BATCH_TOKENS=MAX_TOKENS, NOTELLM_MAX_QUEUE_TOKENS=MAX_TOKENS
    ) as running:
        yield running


class Probe(threading.Thread):
    """Asks for liveness again and again until it is stopped."""

    def __init__(self, service: RunningService) -> None:
        super().__init__()
        self.statuses: list[int] = []
        self._service = service
        self._stop_now = threading.Event()

    def run(self) -> None:
        while not self._stop_now.wait(0.1):
            self.statuses.append(self._service.get("/health/live").status_code)

    def stop(self) -> list[int]:
        self._stop_now.set()
        self.join()
        return self.statuses


def test_what_is_too_much_is_refused_before_anything_is_done_for_it(service: RunningService) -> None:
    served = Served(service)
    before = served.metrics()["notellm_batch_notes_sum"]
    probe = Probe(service)
    probe.start()
    outcome = run_load(served.plan(embed_bodies(NOTES, 1), clients=CLIENTS, requests=1000))
    statuses = probe.stop()
    embedded = served.metrics()["notellm_batch_notes_sum"] - before

    assert {answer.status for answer in outcome.answers} <= {OK, TOO_MANY, TOO_LATE}
    refused = [answer.retry_after for answer in outcome.answers if answer.status == TOO_MANY]
    assert refused
    assert all(seconds is not None and seconds >= 1 for seconds in refused)
    assert 0 < outcome.count(OK) <= embedded <= outcome.count(OK) + outcome.count(TOO_LATE)
    assert set(statuses) == {200}

    body = {"notes": [{"id": "after", "title": "after the flood"}]}
    answer = httpx.post(f"{service.url}/notes/embed", json=body, timeout=60, trust_env=False)
    assert answer.status_code == 200
