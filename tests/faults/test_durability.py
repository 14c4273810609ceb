"""The service is killed for real; what it acknowledged must be there afterwards."""

import json
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness.service import RunningService, running_service
from tests.faults.serve import run_serve

pytestmark = pytest.mark.faults


def note(number: int, text: str) -> dict[str, Any]:
    return {"id": f"n{number}", "title": f"note {number} {text}", "content": "sour " * (number % 40)}


SYNCED = re.compile(r"\b(?:fsync|fdatasync|msync|sync_file_range)\(\d+<[^>]*/index/shard/[^>]*>")


@contextmanager
def traced(service: RunningService, trace: Path) -> Iterator[None]:
    """Notes down which files the service syncs, and what it says to its clients."""
    calls = "trace=fsync,fdatasync,msync,sync_file_range,recvfrom,sendto"
    command = ["strace", "-f", "-y", "-e", calls, "-o", str(trace), "-p", str(service.process.pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as tracer:
        assert tracer.stderr is not None
        assert b"attached" in tracer.stderr.readline()
        yield
        tracer.send_signal(signal.SIGINT)


@pytest.mark.needs("strace")
def test_an_acknowledgement_follows_a_flush(tiny_path: Path, tmp_path: Path) -> None:
    """The kernel keeps what a killed process wrote, so that is not enough: every write must be synced before its answer."""
    trace = tmp_path / "trace"
    with running_service(tiny_path, tmp_path / "data") as service, httpx.Client(base_url=service.url, timeout=60) as client:
        with traced(service, trace):
            first = {**note(1, "synced"), "version": 1}
            writes = [client.post("/notes/embed", json={"notes": [first]})]
            page = client.get("/admin/notes").json()
            writes.append(client.delete("/notes/n1"))
            (kept,) = page["notes"]
            archive = {"vector_name": page["vector_name"], "notes": [{**kept, "note": {**kept["note"], "id": "n2"}}]}
            writes.append(client.post("/admin/notes", json=archive))
            writes.append(client.post("/admin/notes/deleted", json={"notes": [{"id": "n3", "version": 1}]}))
        assert [write.status_code for write in writes] == [200, 204, 200, 200], [write.text for write in writes]
        assert [write.json()["notes"][0]["status"] for write in writes[2:]] == ["stored", "deleted"]
        left = client.get("/admin/notes").json()
        assert [note["note"]["id"] for note in left["notes"]] == ["n2"]
        assert {gone["id"] for gone in left["deleted"]} == {"n1", "n3"}
    calls = trace.read_text().splitlines()
    for asked in ("POST /notes/embed ", "DELETE /notes/n1 ", "POST /admin/notes ", "POST /admin/notes/deleted "):
        request = next(number for number, call in enumerate(calls) if asked in call)
        answer = next(number for number, call in enumerate(calls) if number > request and "HTTP/1.1 20" in call)
        # The ledger beside the shard is synced, too, and says nothing about the notes.
        assert any(SYNCED.search(call) for call in calls[request:answer]), asked


def test_sigterm_finishes_accepted_requests_and_exits_cleanly(tiny_path: Path, tmp_path: Path) -> None:
    with running_service(tiny_path, tmp_path) as service:
        answers: list[int] = []
        notes = [note(number, "accepted") | {"content": "sour " * 400} for number in range(200)]  # they take a while
        sending = threading.Thread(
            target=lambda: answers.append(
                httpx.post(f"{service.url}/notes/embed", json={"notes": notes}, timeout=300).status_code
            )
        )
        sending.start()
        while "notellm_notes_total" not in (metrics := service.get("/metrics").text) or "in_flight 2.0" not in metrics:
            assert not answers
        assert service.stop() == 0
        sending.join(300)
    assert answers == [200]
    with running_service(tiny_path, tmp_path) as again:
        assert again.get("/model").json()["notes"] == 200


def test_a_second_service_on_the_same_index_is_refused(tiny_path: Path, tmp_path: Path) -> None:
    with running_service(tiny_path, tmp_path) as service:
        second = run_serve(NOTELLM_CHECKPOINT=str(tiny_path), NOTELLM_DATA_DIR=str(tmp_path), NOTELLM_PORT="0")
        assert second.returncode == 1
        assert "another process has the index" in second.stderr
        assert service.get("/health/ready").status_code == 200


@pytest.mark.slow("five processes")
def test_start_up_errors_are_one_line_that_says_what_to_do(tiny_path: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for environment, message in (
        ({}, "NOTELLM_CHECKPOINT: Field required"),
        ({"NOTELLM_CHECKPOINT": str(tmp_path / "none")}, "no such directory"),
        ({"NOTELLM_CHECKPOINT": str(tmp_path)}, "this is not a NoteLLM checkpoint"),
        ({"NOTELLM_CHECKPOINT": str(tiny_path), "NOTELLM_DATA_DIR": str(tmp_path / "file")}, "Set NOTELLM_DATA_DIR to another"),
        ({"NOTELLM_CHECKPOINT": str(tiny_path), "NOTELLM_QDRANT_URL": "http://127.0.0.1:1", "NOTELLM_QDRANT_GRPC_PORT": "1"},
         "Check NOTELLM_QDRANT_URL"),
    ):  # fmt: skip
        outcome = run_serve(**environment)
        assert outcome.returncode == 1, outcome.stderr
        last = outcome.stderr.strip().splitlines()[-1]
        assert last.startswith("notellm-serve: ")
        assert message in last
        assert "Traceback" not in outcome.stderr


@pytest.mark.slow("starts a service for each file")
def test_an_index_truncated_on_disk_is_refused_or_whole(tiny_path: Path, tmp_path: Path) -> None:
    with running_service(tiny_path, tmp_path) as service:
        httpx.post(f"{service.url}/notes/embed", json={"notes": [note(1, "kept")]}, timeout=60)
    description = tmp_path / "index" / "index.json"
    content = json.loads(description.read_text())
    description.write_text(json.dumps(content)[:10])
    outcome = run_serve(NOTELLM_CHECKPOINT=str(tiny_path), NOTELLM_DATA_DIR=str(tmp_path), NOTELLM_PORT="0")
    assert outcome.returncode == 1
    assert "index.json is not readable" in outcome.stderr
