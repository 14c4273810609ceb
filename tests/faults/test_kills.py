"""The service is killed at random moments with writes in flight; what it acknowledged is there afterwards, and every note is whole.

NOTELLM_TEST_KILLS=50 python -m pytest -m faults tests/faults/test_kills.py -s
"""

import os
import random
import time
from pathlib import Path

import httpx
import pytest

from tests.acknowledged import assert_right_vectors, everything_stored
from tests.faults.writers import LEAST_REQUESTS, Writer, write_and_kill
from tests.serving import running_service, start_service

pytestmark = pytest.mark.faults
KILLS = int(os.environ.get("NOTELLM_TEST_KILLS", "10"))
WRITERS = 3


def assert_nothing_is_lost(checkpoint: Path, data_dir: Path, writers: list[Writer]) -> int:
    """Asks a service that is started on what the killed ones have left; returns how many notes it holds."""
    with running_service(checkpoint, data_dir) as service:
        stored = everything_stored(service.url)
        assert httpx.get(f"{service.url}/model").json()["notes"] == len(stored)
        for writer in writers:
            for note_id in writer.ledger.possible:
                assert writer.ledger.fits(note_id, stored.get(note_id)), (note_id, stored.get(note_id), writer.ledger.possible)
    assert stored.keys() <= {note_id for writer in writers for note_id in writer.ledger.possible}
    assert_right_vectors(checkpoint, list(stored.values()))
    return len(stored)


def test_sigkill_at_random_moments_loses_nothing_that_was_acknowledged(tiny_path: Path, tmp_path: Path) -> None:
    rng, begun = random.Random(4), time.monotonic()
    writers = [Writer(f"w{number}", random.Random(number)) for number in range(WRITERS)]
    for _ in range(KILLS):
        write_and_kill(start_service(tiny_path, tmp_path), writers, rng)
    kept = assert_nothing_is_lost(tiny_path, tmp_path, writers)
    acknowledged = sum(writer.ledger.requests for writer in writers)
    unsure = sum(len(states) > 1 for writer in writers for states in writer.ledger.possible.values())
    print(  # noqa: T201 - the figures are for docs/results/reliability.md
        f"{KILLS} kills in {time.monotonic() - begun:.0f} s, {acknowledged} acknowledged requests, {kept} notes stored, {unsure} in flight "
        "at the end, none lost"
    )
    assert acknowledged >= LEAST_REQUESTS * KILLS
    assert kept >= 20
