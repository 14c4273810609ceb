"""The service is killed at random moments with writes in flight; what it acknowledged is there afterwards, and every note is whole.

NOTELLM_TEST_KILLS=50 NOTELLM_TEST_KILLS_REPORT=kills.json python -m pytest -m faults tests/faults/test_kills.py -s

Without the variables it is 10 kills, and no report.
"""

import json
import os
import random
import time
from pathlib import Path

import httpx
import pytest

from benchmarks.machine import machine
from harness.service import running_service, start_service
from tests.acknowledged import assert_right_vectors, everything_stored
from tests.faults.writers import LEAST_REQUESTS, Writer, write_and_kill

pytestmark = [pytest.mark.faults, pytest.mark.slow("services are started again and again")]
KILLS = int(os.environ.get("NOTELLM_TEST_KILLS", "10"))
REPORT = os.environ.get("NOTELLM_TEST_KILLS_REPORT")
WRITERS = 3


def assert_nothing_is_lost(checkpoint: Path, data_dir: Path, writers: list[Writer]) -> int:
    """Asks a service that is started on what the killed ones have left; returns how many notes it holds."""
    with running_service(checkpoint, data_dir) as service:
        stored = everything_stored(service.url)
        assert service.get("/model").json()["notes"] == len(stored)
        for writer in writers:
            writer.ledger.settle(stored)
        with httpx.Client(base_url=service.url, timeout=60) as client:
            for writer in writers:
                for note_id in writer.forgotten:
                    writer.replay(client, note_id)
        assert everything_stored(service.url).keys() == stored.keys(), "a replay has brought a note back"
    assert stored.keys() <= {note_id for writer in writers for note_id in writer.ledger.possible}
    assert_right_vectors(checkpoint, list(stored.values()))
    return len(stored)


def test_sigkill_at_random_moments_loses_nothing_that_was_acknowledged(
    tiny_path: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    rng, begun, ran_on = random.Random(4), time.monotonic(), machine()
    unsure = 0
    writers = [Writer(f"w{number}", random.Random(number)) for number in range(WRITERS)]
    for _ in range(KILLS):
        service = start_service(tiny_path, tmp_path)
        request.addfinalizer(service.process.kill)
        stored = everything_stored(service.url)
        for writer in writers:
            unsure += writer.ledger.unsure
            writer.ledger.settle(stored)
        write_and_kill(service, writers, rng)
    unsure += sum(writer.ledger.unsure for writer in writers)
    kept = assert_nothing_is_lost(tiny_path, tmp_path, writers)
    found = {
        "kills": KILLS,
        "seconds": round(time.monotonic() - begun),
        "acknowledged requests": sum(writer.ledger.requests for writer in writers),
        "notes stored": kept,
        "in flight when it was killed": unsure,
        "deleted in a version": sum(len(writer.forgotten) for writer in writers),
        "replays without effect": sum(writer.replays for writer in writers),
        "lost or brought back": 0,  # else the test has failed by now
    }
    print(json.dumps(found))  # noqa: T201 - the figures are for docs/results/reliability.md
    if REPORT:
        Path(REPORT).write_text(json.dumps({"machine": ran_on, **found}, indent=1) + "\n", encoding="utf-8")
    assert found["acknowledged requests"] >= LEAST_REQUESTS * KILLS
    assert kept >= 20
    assert found["deleted in a version"]
