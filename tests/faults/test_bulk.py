"""`notellm-serve ingest` is killed for real; the command that is given again leaves every note once and every reject once."""

import random
import time
from pathlib import Path

import httpx
import pytest

from harness.service import free_port, running_service
from tests.service.bulk.files import note, read_lines, run_command, start_command, write_lines

pytestmark = [pytest.mark.faults, pytest.mark.slow("services are started again and again")]
NOTES = 900
BAD = range(11, NOTES, 37)
KILLS = 2


def kill_soon(path: Path, rng: random.Random, **environment: str) -> None:
    """Starts to take a file in, and kills it at some moment after it has made progress."""
    progress = path.with_name(f"{path.name}.progress.json")
    before = progress.stat().st_mtime_ns if progress.exists() else 0
    process = start_command("ingest", path, **environment)
    deadline = time.monotonic() + 300
    while not progress.exists() or progress.stat().st_mtime_ns == before:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.2))
    process.kill()
    process.communicate()


def rows_of(path: Path) -> Path:
    return write_lines(path, [note(number) if number not in BAD else "{broken" for number in range(NOTES)])


def check(path: Path, url: str) -> None:
    assert [reject["row"] for reject in read_lines(path.with_name("notes.jsonl.rejects.jsonl"))] == [row + 1 for row in BAD]
    with httpx.Client(base_url=url, timeout=60) as client:
        assert client.get("/model").json()["notes"] == NOTES - len(BAD)
        ids: list[str] = []
        start: dict[str, str] = {}
        while True:
            page = client.get("/admin/notes", params={"limit": 256, **start}).json()
            ids += [line["note"]["id"] for line in page["notes"]]
            if "next" not in page:
                break
            start = {"start": page["next"]}
    assert sorted(ids) == sorted(f"n{number}" for number in range(NOTES) if number not in BAD)


def test_killed_while_a_service_runs(tiny_path: Path, tmp_path: Path) -> None:
    rng = random.Random(5)
    path = rows_of(tmp_path / "notes.jsonl")
    with running_service(tiny_path, tmp_path / "data") as service:
        for _ in range(KILLS):
            kill_soon(path, rng, NOTELLM_PORT=service.url.rpartition(":")[2])
        outcome = run_command("ingest", path, "--url", service.url)
        assert outcome.returncode == 0, outcome.stderr
        assert f"{len(BAD)} rejected" in outcome.stdout
        check(path, service.url)


def test_killed_with_the_index_in_its_hands(tiny_path: Path, tmp_path: Path) -> None:
    rng = random.Random(6)
    path = rows_of(tmp_path / "notes.jsonl")
    environment = {
        "NOTELLM_CHECKPOINT": str(tiny_path), "NOTELLM_DATA_DIR": str(tmp_path / "data"), "NOTELLM_PORT": str(free_port()),
        "NOTELLM_ENGINE": "local",
    }  # fmt: skip
    for _ in range(KILLS):
        kill_soon(path, rng, **environment)
    outcome = run_command("ingest", path, **environment)
    assert outcome.returncode == 0, outcome.stderr
    with running_service(tiny_path, tmp_path / "data") as service:
        check(path, service.url)


def test_the_service_is_killed_and_comes_back(tiny_path: Path, tmp_path: Path) -> None:
    path = rows_of(tmp_path / "notes.jsonl")
    port = str(free_port())
    with running_service(tiny_path, tmp_path / "data", NOTELLM_PORT=port) as first:
        url = f"http://127.0.0.1:{port}"
        process = start_command("ingest", path, "--url", url)
        progress = path.with_name("notes.jsonl.progress.json")
        while not progress.exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.001)
        first.process.kill()
        first.process.wait(300)
    time.sleep(0.5)
    assert process.poll() is None
    with running_service(tiny_path, tmp_path / "data", NOTELLM_PORT=port):
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert f"{len(BAD)} rejected" in output
        check(path, url)
