"""A disk that runs full, one that cannot be written, and files that were cut off, under the running service."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from harness.service import RunningService, running_service, start_service
from tests.faults.disk import fill, mounted, remount
from tests.faults.serve import run_serve

pytestmark = [pytest.mark.faults, pytest.mark.slow("services are started again and again")]
RESERVE_MIB = 100


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """240 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    with mounted(place, "size=240m"):
        yield place


def note(number: int) -> dict[str, Any]:
    return {"id": f"n{number}", "title": f"note {number}", "content": "sour " * 300}


def embed(service: RunningService, numbers: range) -> httpx.Response:
    return httpx.post(f"{service.url}/notes/embed", json={"notes": [note(number) for number in numbers]}, timeout=60)


def refused_writes(service: RunningService) -> list[httpx.Response]:
    """The answers to a write of each kind that must not be done."""
    page = service.get("/admin/notes?limit=1").json()
    archive = {
        "vector_name": page["vector_name"],
        "notes": [line | {"note": line["note"] | {"id": "new"}} for line in page["notes"]],
    }
    return [
        embed(service, range(20, 25)),
        httpx.delete(f"{service.url}/notes/n0", timeout=60),
        httpx.post(f"{service.url}/admin/notes", json=archive, timeout=60),
        httpx.post(f"{service.url}/admin/notes/deleted", json={"notes": [{"id": "gone", "version": 1}]}, timeout=60),
    ]


@pytest.mark.needs("mount")
def test_on_a_nearly_full_disk_reading_goes_on_and_writing_comes_back(tiny_path: Path, disk: Path) -> None:
    with running_service(tiny_path, disk, NOTELLM_MIN_FREE_DISK_MIB=str(RESERVE_MIB)) as service:
        assert embed(service, range(20)).status_code == 200
        filler = fill(disk, RESERVE_MIB - 10)
        for refused in refused_writes(service):
            assert refused.status_code == 507, refused.text
            assert refused.headers["Content-Type"] == "application/problem+json"
            assert refused.json()["type"] == "urn:notellm:problem:storage-full"
            assert "NOTELLM_DATA_DIR" in refused.json()["detail"]
        assert service.get("/notes/n0/similar").status_code == 200
        for missing in ("n20", "new"):
            assert service.get(f"/notes/{missing}").status_code == 404
        assert service.get("/health/ready").status_code == 200
        filler.unlink()
        assert embed(service, range(20, 25)).status_code == 200
        assert service.get("/model").json()["notes"] == 25


@pytest.mark.needs("mount")
def test_a_disk_that_is_filled_under_the_index_costs_no_acknowledged_note(tiny_path: Path, disk: Path) -> None:
    """Without the reserve, the process ends by SIGBUS or refuses: either way, what it had acknowledged is whole afterwards."""
    service = start_service(tiny_path, disk, NOTELLM_MIN_FREE_DISK_MIB="0")
    vectors: dict[str, list[float]] = {}
    filler: Path | None = None
    for start in range(0, 40_000, 200):
        try:
            answer = embed(service, range(start, start + 200))
        except httpx.TransportError:
            break
        if answer.status_code != 200:
            assert answer.status_code == 503, answer.text
            break
        vectors |= {stored["id"]: stored["vector"] for stored in answer.json()["notes"]}
        if filler is None:
            filler = fill(disk, 1)
    else:
        pytest.fail("the disk never ran full")
    assert filler is not None
    if service.process.poll() is None:
        service.stop(signal.SIGKILL)
    filler.unlink()
    with running_service(tiny_path, disk) as again, httpx.Client(base_url=again.url, timeout=60) as client:
        assert len(vectors) >= 200
        for note_id, vector in list(vectors.items())[::7]:
            stored = client.get(f"/notes/{note_id}", params={"vector": True}).json()
            assert stored["content"] == note(0)["content"].strip()
            np.testing.assert_allclose(stored["vector"], vector, atol=1e-6)
        assert client.get("/model").json()["notes"] >= len(vectors)


@pytest.mark.needs("mount")
def test_a_full_disk_is_told_at_start(tiny_path: Path, disk: Path) -> None:
    with running_service(tiny_path, disk) as service:
        embed(service, range(3))
    fill(disk, 0)
    outcome = run_serve(NOTELLM_CHECKPOINT=str(tiny_path), NOTELLM_DATA_DIR=str(disk), NOTELLM_PORT="0")
    assert outcome.returncode == 1
    last = outcome.stderr.strip().splitlines()[-1]
    assert "cannot be" in last
    assert "No space left on device" in last
    assert "Traceback" not in outcome.stderr


@pytest.mark.needs("mount")
def test_a_disk_that_cannot_be_written_is_told_at_start(tiny_path: Path, tmp_path: Path) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    with mounted(place, "ro,size=80m"):
        outcome = run_serve(NOTELLM_CHECKPOINT=str(tiny_path), NOTELLM_DATA_DIR=str(place), NOTELLM_PORT="0")
    assert outcome.returncode == 1
    last = outcome.stderr.strip().splitlines()[-1]
    assert "Read-only file system" in last
    assert "Set NOTELLM_DATA_DIR to another" in last


def test_notes_that_were_cut_off_on_disk_are_missed_at_start(tiny_path: Path, tmp_path: Path) -> None:
    with running_service(tiny_path, tmp_path) as service:
        for start in (0, 10, 20):
            assert embed(service, range(start, start + 10)).status_code == 200
    (mappings,) = (tmp_path / "index" / "shard").rglob("*id_tracker.mappings")
    os.truncate(mappings, mappings.stat().st_size // 2)
    outcome = run_serve(NOTELLM_CHECKPOINT=str(tiny_path), NOTELLM_DATA_DIR=str(tmp_path), NOTELLM_PORT="0")
    assert outcome.returncode == 1
    assert "has lost notes: it holds" in outcome.stderr
    assert "Restore it from a backup" in outcome.stderr


@pytest.mark.needs("mount")
def test_a_disk_in_use_cannot_be_mounted_read_only(tiny_path: Path, disk: Path) -> None:
    with running_service(tiny_path, disk, NOTELLM_MIN_FREE_DISK_MIB=str(RESERVE_MIB)) as service:
        assert embed(service, range(5)).status_code == 200
        outcome = remount(disk, "ro")
        assert outcome.returncode != 0
        assert "busy" in outcome.stderr
        assert embed(service, range(5, 10)).status_code == 200


@pytest.mark.needs("mount")
def test_a_disk_that_fails_and_turns_read_only_costs_no_acknowledged_note(tiny_path: Path, tmp_path: Path) -> None:
    """As ext4 does after an error of the device. It is repaired, and mounted again, before the service can write."""
    place, image = tmp_path / "disk", tmp_path / "image"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(400 * 2**20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    reserve = "16"
    text = {"note": {"title": "sour"}}
    with (
        mounted(place, "loop,errors=remount-ro", kind="ext4", image=image),
        running_service(tiny_path, place, NOTELLM_MIN_FREE_DISK_MIB=reserve) as service,
    ):
        vectors = {stored["id"]: stored["vector"] for stored in embed(service, range(20)).json()["notes"]}
        assert remount(place, "abort").returncode == 0
        assert service.get("/notes/n5/similar").status_code == 200
        for refused in refused_writes(service):
            assert refused.status_code == 503, refused.text
            assert refused.json()["type"] == "urn:notellm:problem:index-unavailable"
        assert httpx.post(f"{service.url}/notes/similar", json=text, timeout=60).status_code == 200
        # What was refused is in memory only: who asks for it by its id is not told that it is stored.
        assert service.get("/notes/n20").status_code == 503
    assert subprocess.run(["e2fsck", "-fy", image], capture_output=True, check=False).returncode <= 1
    with (
        mounted(place, "loop", kind="ext4", image=image),
        running_service(tiny_path, place, NOTELLM_MIN_FREE_DISK_MIB=reserve) as again,
    ):
        for note_id, vector in vectors.items():
            stored = again.get(f"/notes/{note_id}?vector=true")
            if note_id != "n0" or stored.status_code == 200:  # its deletion was refused: either will do
                np.testing.assert_allclose(stored.json()["vector"], vector, atol=1e-6)
        assert embed(again, range(20, 25)).status_code == 200
        assert again.get("/notes/n20").status_code == 200
