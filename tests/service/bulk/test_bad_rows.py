"""An unreadable row of any kind is rejected with a reason, and the run continues."""

import codecs
import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.bulk.backup import export, read_header
from service.bulk.batches import ItemT
from service.bulk.client import ServiceClient
from service.bulk.ingest import IngestJob
from service.bulk.progress import Progress
from service.bulk.restore import EmbedJob, RestoreJob
from service.bulk.run import BulkRun, Job
from service.errors import CommandError
from tests.service.bulk.files import Json, note, read_lines, write_lines

DEEP = "[" * 100_000
FAR = 10**12  # seconds, so the year 33658: the usual result of mistaking milliseconds for seconds


async def run(path: Path, job: Job[ItemT]) -> Counter[str]:
    with Progress(path, job.name, path.parent) as progress:
        return await BulkRun(path, job, progress).run()


def rejects(path: Path) -> dict[int, str]:
    return {line["row"]: line["reason"] for line in read_lines(path.with_name(f"{path.name}.rejects.jsonl"))}


async def test_csv(service: ServiceClient, tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "title", "hashtags", "version"])
        for number, (hashtags, version) in enumerate(
            [("a", "1.0"), ("", "²"), ("", "9" * 5000), (f"{DEEP}]", ""), ("[1, 2]", ""), ("b", "2"), ("", "1.5"), ("", "")],
            start=1,
        ):
            writer.writerow([f"n{number}", "x", hashtags, version])
    assert await run(path, IngestJob(service)) == {"stored": 3, "rejected": 5}
    reasons = rejects(path)
    assert list(reasons) == [2, 3, 4, 5, 7]
    assert reasons[2] == reasons[3] == reasons[7] == "version: Input should be a valid integer"
    assert reasons[4].startswith("hashtags.0: String should have at most")
    assert [(await service.get(f"/notes/n{number}")).get("version") for number in (1, 6, 8)] == [1, 2, None]


async def test_json_lines(service: ServiceClient, tmp_path: Path) -> None:
    nested = '{"id": "n2", "title": ' + DEEP
    path = write_lines(
        tmp_path / "notes.jsonl", [note(1), nested, DEEP, json.dumps(note(4))[:-1] + f', "version": {"9" * 5000}}}']
    )
    path = write_lines(path, [*path.read_text().splitlines(), note(5)])
    assert await run(path, IngestJob(service)) == {"stored": 2, "rejected": 3}
    lines = read_lines(path.with_name("notes.jsonl.rejects.jsonl"))
    assert [line["row"] for line in lines] == [2, 3, 4]
    assert lines[0]["text"] == nested
    assert all(line["reason"] for line in lines)


async def test_a_mark_of_the_byte_order_is_no_part_of_the_first_row(service: ServiceClient, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "notes.jsonl", [note(number) for number in range(400)])
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())

    class Stops(IngestJob):
        sent = 0

        async def send(self, items: Any) -> list[str]:
            self.sent += 1
            if self.sent == 4:
                raise CommandError("stopped")
            return await super().send(items)

    with pytest.raises(CommandError, match="stopped"):
        await run(path, Stops(service))
    counts = await run(path, IngestJob(service))
    assert counts["stored"] + counts["unchanged"] == counts.total() == 400
    assert (await service.get("/model"))["notes"] == 400


@pytest.mark.parametrize("job", [RestoreJob, EmbedJob])
async def test_a_backup(job: Any, service: ServiceClient, other: ServiceClient, tmp_path: Path) -> None:
    await service.post("/notes/embed", {"notes": [note(number) for number in range(4)]})
    path = tmp_path / "backup.jsonl"
    await export(service, path)
    lines: list[Json | str] = list(read_lines(path))
    lines[2:4] = [DEEP, '{"note": ' + DEEP]
    write_lines(path, lines)
    assert await run(path, job(other, read_header(path).vector_name)) == {"stored": 2, "rejected": 2}
    assert rejects(path) == {3: "is nested too deeply", 4: "is nested too deeply"}


def table(times: pa.Array) -> pa.Table:
    return pa.table({"id": [f"n{number}" for number in range(len(times))], "title": ["x"] * len(times), "created_at": times})


@pytest.mark.parametrize(
    ("unit", "far"),
    [("s", FAR), ("ms", FAR * 1000), ("us", FAR * 10**6), ("s", FAR * 1000), ("s", (2**64 + 1_800_000_000 * 10**6) // 10**6)],
)
async def test_times_of_a_parquet_file_that_are_none(unit: str, far: int, service: ServiceClient, tmp_path: Path) -> None:
    path = tmp_path / "notes.parquet"
    times = pa.array([0, far, None, 1, far, -far], pa.int64()).cast(pa.timestamp(unit, tz="UTC"))
    pq.write_table(table(times), path)
    assert await run(path, IngestJob(service)) == {"stored": 3, "rejected": 3}
    assert list(rejects(path)) == [2, 5, 6]
    assert all("created_at" in reason for reason in rejects(path).values())
    [first, *_] = read_lines(path.with_name("notes.parquet.rejects.jsonl"))
    assert first["note"] == {"id": "n1", "title": "x"}


async def test_text_of_a_parquet_file_that_is_no_text(service: ServiceClient, tmp_path: Path) -> None:
    path = tmp_path / "notes.parquet"
    titles = pa.array([b"x", b"\xff\xfe", b"y"]).view(pa.string())
    pq.write_table(pa.table({"id": ["n1", "n2", "n3"], "title": titles}), path)
    assert await run(path, IngestJob(service)) == {"stored": 2, "rejected": 1}
    assert "title" in rejects(path)[2]
