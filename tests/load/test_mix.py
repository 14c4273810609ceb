"""`make load` against a real service: the mix runs, what is too much is refused, and the report is written."""

import csv
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from harness.processes import ROOT
from harness.service import running_service
from service.security.keys import hash_key

pytestmark = [pytest.mark.integration, pytest.mark.needs("locust")]
SECONDS = 6
CALLS = {"embed new", "embed again", "similar to one", "similar to several", "hashtags", "delete"}
KEY = "nlm_load"


def make_load(key: str = "", **variables: object) -> subprocess.CompletedProcess[str]:
    command = ["make", "load", *(f"{name}={value}" for name, value in variables.items())]
    environment = os.environ | {"NOTELLM_API_KEY": key}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)


def load(url: str, folder: Path, *, rate: int, stored: int, key: str = "") -> Mapping[str, int]:
    """Requests of each row of the report. locust ends with an error when one of them has failed, by a 5xx or otherwise."""
    report, table = folder / "report.html", folder / "load"
    done = make_load(key, URL=url, RATE=rate, SECONDS=SECONDS, REPORT=report, ARGS=f"--csv {table} --stored {stored}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "similar to several" in report.read_text(encoding="utf-8")
    with Path(f"{table}_stats.csv").open(newline="") as rows:
        return {row["Name"]: int(row["Request Count"]) for row in csv.DictReader(rows)}


def stored_notes(url: str, key: str = "") -> int:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    notes: int = httpx.get(f"{url}/model", headers=headers, timeout=60, trust_env=False).json()["notes"]
    return notes


@pytest.mark.slow("a load of several seconds")
def test_the_mix_runs_and_leaves_nothing_behind(tiny_path: Path, tmp_path: Path) -> None:
    """With a key of the two scopes that the documentation names."""
    keys = tmp_path / "keys.toml"
    keys.write_text(f'[load]\nsha256 = ["{hash_key(KEY)}"]\nscopes = ["read", "write"]\n')
    with running_service(tiny_path, tmp_path / "data", NOTELLM_API_KEYS_FILE=str(keys)) as service:
        rows = load(service.url, tmp_path, rate=30, stored=20, key=KEY)
        assert set(rows) == {*CALLS, "Aggregated"}
        assert rows["similar to one"] > 2 * rows["hashtags"] > 0
        assert rows["Aggregated"] < 1.3 * 30 * SECONDS
        assert stored_notes(service.url, KEY) == 0


@pytest.mark.slow("a load of several seconds")
def test_what_is_too_much_is_refused(slow_path: Path, tmp_path: Path) -> None:
    with running_service(
        slow_path, tmp_path / "data", NOTELLM_MAX_BATCH_TOKENS="512", NOTELLM_MAX_QUEUE_TOKENS="512"
    ) as service:
        rows = load(service.url, tmp_path, rate=60, stored=5)
        # Arrivals do not wait for answers: if they did, one request at a time would never fill the queue.
        assert rows["embed new refused"] > rows["embed new"] > 0
        assert "embed again refused" not in rows, "what need not be computed is not refused"
        assert stored_notes(service.url) == 0


def test_a_note_without_others_has_no_neighbours_to_be_asked_for() -> None:
    done = make_load(ARGS="--stored 1")
    assert done.returncode != 0
    assert "argument --stored: must be at least 2" in done.stderr
