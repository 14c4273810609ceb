"""Deleted notes in a backup: they stay deleted in the index that imports it."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from service.bulk.backup import Footer, export, read_header
from service.bulk.batches import Item
from service.bulk.client import ServiceClient
from service.bulk.progress import Progress
from service.bulk.restore import EmbedJob, RestoreJob
from service.bulk.run import BulkRun, Job
from service.errors import CommandError
from service.serving import Runtime
from tests.service.bulk.files import Json, note, read_lines, write_lines

MakeJob = Callable[[ServiceClient, str], Job[Item]]
JOBS: list[MakeJob] = [RestoreJob, EmbedJob]


async def store(service: ServiceClient, notes: list[Json]) -> list[str]:
    return [one["status"] for one in (await service.post("/notes/embed", {"notes": notes}))["notes"]]


async def forget(runtime: Runtime, *numbers: int) -> None:
    for number in numbers:
        await runtime.served.notes.delete(f"n{number}")


async def run(path: Path, job: Job[Item]) -> Counter[str]:
    with Progress(path, job.name, path.parent) as progress:
        return await BulkRun(path, job, progress).run()


@pytest.fixture
async def written(service: ServiceClient, runtime: Runtime, tmp_path: Path) -> Path:
    """A backup of 117 notes and 2 notes deleted in version 3. A deleted note without a version is not in it."""
    await store(service, [note(number, version=3) for number in range(119)])
    await store(service, [note(200)])
    await forget(runtime, 7, 70, 200)
    path = tmp_path / "backup.jsonl"
    assert await export(service, path) == Footer(notes=117, deleted=2)
    return path


@pytest.mark.parametrize("make", JOBS, ids=["vectors", "embedded"])
async def test_what_was_deleted_does_not_come_back_where_a_backup_is_imported(
    make: MakeJob, written: Path, other: ServiceClient
) -> None:
    job = make(other, read_header(written).vector_name)
    assert await run(written, job) == {"stored": 117, "deleted": 2}
    assert (await other.get("/model"))["notes"] == 117
    assert await store(other, [note(7, version=3), note(70, version=2)]) == ["stale", "stale"]
    assert await run(written, job) == {"unchanged": 119}
    again = written.with_name("again.jsonl")
    assert await export(other, again) == Footer(notes=117, deleted=2)
    assert [line.get("deleted") for line in read_lines(again)] == [line.get("deleted") for line in read_lines(written)]
    assert await store(other, [note(7, version=4), note(70)]) == ["stored", "stored"]


async def test_a_deletion_takes_the_place_of_nothing_that_is_newer(written: Path, other: ServiceClient) -> None:
    await store(other, [note(7, version=4, title="newer"), note(70, title="without a version"), note(71, version=1)])
    assert await run(written, RestoreJob(other, read_header(written).vector_name)) == {"stored": 117, "kept": 2}
    assert (await other.get("/notes/n7"))["title"] == "newer"
    assert (await other.get("/notes/n70"))["title"] == "without a version"


async def test_a_deletion_takes_the_place_of_what_was_deleted(
    written: Path, other: ServiceClient, other_runtime: Runtime
) -> None:
    await store(other, [note(7, version=3), note(70, version=9)])
    await forget(other_runtime, 70)
    assert await run(written, RestoreJob(other, read_header(written).vector_name)) == {
        "stored": 117,
        "deleted": 1,
        "unchanged": 1,
    }
    assert await store(other, [note(7, version=3), note(70, version=9)]) == ["stale", "stale"]


async def test_a_backup_of_an_earlier_release_is_imported(written: Path, other: ServiceClient) -> None:
    header, *lines, _ = read_lines(written)
    notes = [line for line in lines if "note" in line]
    write_lines(written, [header | {"format_version": 1}, *notes, {"notes": 117}])
    assert await run(written, RestoreJob(other, read_header(written).vector_name)) == {"stored": 117}


async def test_lost_lines_are_noticed_whichever_they_are(written: Path) -> None:
    lines = read_lines(written)
    for lost in ("note", "deleted"):
        without = next(place for place, line in enumerate(lines) if lost in line and "format" not in line)
        write_lines(written, [*lines[:without], *lines[without + 1 :]])
        with pytest.raises(CommandError, match="is incomplete"):
            read_header(written)


async def test_bad_lines_beside_deletions_are_told_by_their_rows(written: Path, other: ServiceClient) -> None:
    lines = read_lines(written)
    places = [place for place, line in enumerate(lines) if "deleted" in line and "notes" not in line]
    bad = sorted({place + step for place in places for step in (-1, 1)} & set(range(1, len(lines) - 1)))
    for place in bad:
        lines[place] = lines[place] | {"vector": "no base64"}
    lines[places[0]] = {"deleted": {"id": "n7", "version": -1}}
    write_lines(written, [json.dumps(line) for line in lines])
    counts = await run(written, RestoreJob(other, read_header(written).vector_name))
    assert counts == {"stored": 117 - len(bad), "deleted": 1, "rejected": len(bad) + 1}
    rejects = read_lines(written.with_name("backup.jsonl.rejects.jsonl"))
    assert [reject["row"] for reject in rejects] == sorted(place + 1 for place in [*bad, places[0]])


async def test_an_import_that_ended_with_deletions_begins_again_in_an_empty_index(
    written: Path, other: ServiceClient, service: ServiceClient
) -> None:
    """The run sends the last acknowledged batch again, to see whether the index still has it."""
    header, *lines, _ = read_lines(written)
    deletions = [{"deleted": {"id": f"gone{number}", "version": 1}} for number in range(64)]
    notes = [line for line in lines if "note" in line][:64]
    rest = [{"deleted": {"id": f"later{number}", "version": 1}} for number in range(128)]
    write_lines(written, [header, *notes, *deletions, *rest, {"notes": 64, "deleted": 192}])
    name = read_header(written).vector_name

    class Stops(RestoreJob):
        sent = 0

        async def send(self, items: object) -> list[str]:
            self.sent += 1
            if self.sent == 3:
                raise CommandError("stopped")
            return await super().send(items)  # type: ignore[arg-type]

    with pytest.raises(CommandError, match="stopped"):
        await run(written, Stops(service, name))
    counts = await run(written, RestoreJob(other, name))
    assert counts["rejected"] == 0
    assert await export(other, written) == Footer(notes=64, deleted=192)
