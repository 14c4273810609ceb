"""Every row of a file is either read or reported as bad, whatever the rows around it contain."""

import csv
import gzip
import json
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from notellm.errors import NoteFileError
from notellm.note import Note
from notellm.note_files import open_rows, text as module
from service.bulk.batches import MAX_ITEMS, Batch, Reject, batches
from service.bulk.client import ServiceClient
from service.bulk.ingest import IngestJob
from tests.service.bulk.files import note, write_lines

parse = IngestJob(ServiceClient(httpx.AsyncClient(base_url="http://nobody"), patience=0)).parse


def read(path: Path) -> tuple[list[Note], list[Reject], list[Batch[Note]]]:
    file = open_rows(path)
    found = list(batches(file, parse))
    assert file.fraction() == pytest.approx(1)
    file.close()
    return [item for batch in found for _, item in batch.items], [reject for batch in found for reject in batch.rejects], found


@pytest.mark.parametrize("name", ["notes.jsonl", "notes.jsonl.gz"])
def test_json_lines_with_bad_rows_between(name: str, tmp_path: Path) -> None:
    lines = [
        json.dumps(note(1)).encode(),
        b"{broken",
        b"",
        json.dumps(note(4, title="x" * 2001)).encode(),
        b'{"id": "n5", "title": "\xff\xfe"}',
        b"[1]",
        json.dumps({"id": "n7"}).encode(),
        json.dumps(note(8, colour="red")).encode(),
        json.dumps(note(9, created_at="2026-01-01T00:00:00+08:00", version=3)).encode(),
    ]
    text = b"\n".join(lines)
    path = tmp_path / name
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    notes, rejects, found = read(path)
    assert [one.id for one in notes] == ["n1", "n9"]
    assert notes[1].created_at == datetime(2025, 12, 31, 16, tzinfo=UTC)
    assert [reject.row.number for reject in rejects] == [2, 4, 5, 6, 7, 8]
    assert found[-1].last_row == 9
    told = [json.loads(reject.as_json()) for reject in rejects]
    assert told[0]["text"] == "{broken"
    assert told[1]["note"]["id"] == "n4"
    assert told[1]["reason"].startswith("title: ")
    assert told[2]["text"] == '{"id": "n5", "title": "\\xff\\xfe"}'
    assert "a note needs a title" in told[4]["reason"]
    assert told[5]["reason"] == "colour: Extra inputs are not permitted"


def test_a_line_that_never_ends_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LINE_BYTES", 5000)
    path = write_lines(tmp_path / "notes.jsonl", [note(1), "x" * 12_000, note(3), note(4, content="y" * 10_000), note(5)])
    notes, rejects, _ = read(path)
    assert [one.id for one in notes] == ["n1", "n3", "n5"]
    assert [reject.row.number for reject in rejects] == [2, 4]
    assert "more than 5,000 bytes" in rejects[0].reason
    assert len(rejects[0].row.content) == 1000


def test_csv_with_bad_rows_between(tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "title", "content", "hashtags", "category", "created_at", "version"])
        writer.writerow(["n1", "line\nbreak", "", "a|b", "", "2026-01-01T00:00:00Z", "7"])
        writer.writerow(["n2", "x", "", '["c d", "e"]', "food", "", ""])
        writer.writerow(["n3", "x", "", "", "", "2026-01-01", ""])
        writer.writerow(["n4", "x", "", "", "", "", "", "one too many"])
        stream.write('n5,"x"y,,,,,\n')
        writer.writerow(["n6", "after", "", "", "", "", ""])
    with path.open("ab") as raw:
        raw.write(b"n7,\xff,,,,,\nn8,last,,,,,\n")
    notes, rejects, _ = read(path)
    assert [one.id for one in notes] == ["n1", "n2", "n6", "n8"]
    assert notes[0].title == "line\nbreak"
    assert (notes[0].hashtags, notes[0].version, notes[0].category) == (("a", "b"), 7, None)
    assert (notes[1].hashtags, notes[1].category) == (("c d", "e"), "food")
    assert [reject.row.number for reject in rejects] == [3, 4, 5, 7]
    assert all(json.loads(reject.as_json())["row"] == reject.row.number for reject in rejects)


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "notes.parquet"
    count = 2500
    shanghai = timezone(timedelta(hours=8))
    table = pa.table(
        {
            "id": [f"n{number}" if number % 1000 else None for number in range(count)],
            "title": ["x"] * count,
            "hashtags": pa.array([["a", "b"], None] * (count // 2), pa.list_(pa.string())),
            "created_at": pa.array([datetime(2026, 1, 1, 8, tzinfo=shanghai)] * count, pa.timestamp("ns", tz="Asia/Shanghai")),
            "version": pa.array([1.0, float("nan")] * (count // 2)),
        }
    )
    pq.write_table(table, path, row_group_size=900)
    notes, rejects, _ = read(path)
    assert len(notes) == count - 3
    assert [reject.row.number for reject in rejects] == [1, 1001, 2001]
    assert (notes[1].id, notes[1].hashtags, notes[1].version) == ("n2", ("a", "b"), 1)
    assert (notes[0].hashtags, notes[0].version, notes[0].created_at) == ((), None, datetime(2026, 1, 1, tzinfo=UTC))
    json.loads(rejects[0].as_json())


def test_times_without_a_zone_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.parquet"
    pq.write_table(pa.table({"id": ["n1"], "title": ["x"], "created_at": [datetime(2026, 1, 1)]}), path)  # noqa: DTZ001
    _, rejects, _ = read(path)
    assert "created_at" in rejects[0].reason


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("notes.txt", b"", "is not a file of notes: its name must end in .jsonl"),
        ("missing.jsonl", None, "is missing"),
        ("notes.parquet", b"PAR1", "not a readable parquet file"),
        ("notes.csv", b"", "has no column id"),
        ("notes.csv", b"id,colour\nn1,red\n", "columns that are not fields of a note: 'colour'"),
    ],
)
def test_files_that_are_none(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(NoteFileError, match=message):
        open_rows(tmp_path / name)


def test_what_comes_before_a_break_is_read(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(note(number)) + "\n" for number in range(20_000)).encode())[:-3000])
    found: list[Batch[Note]] = []
    with closing(open_rows(path)) as file, pytest.raises(NoteFileError, match="cannot be read to its end"):
        found.extend(batches(file, parse))
    assert len(found) > 100


def test_batches_end_where_an_id_comes_again(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "notes.jsonl", [note(number % 100) for number in range(250)])
    _, _, found = read(path)
    assert [len(batch.items) for batch in found] == [64, 64, 64, 58]
    assert all(len(batch.items) <= MAX_ITEMS for batch in found)
    path = write_lines(tmp_path / "notes.jsonl", [note(1), note(2), note(1, title="later"), note(3)])
    _, _, found = read(path)
    assert [[item.id for _, item in batch.items] for batch in found] == [["n1", "n2"], ["n1", "n3"]]
    assert [batch.last_row for batch in found] == [2, 4]


def test_batches_stay_far_below_the_limit_of_a_body(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "notes.jsonl", [note(number, content="咖" * 50_000) for number in range(40)])
    _, _, found = read(path)
    assert max(sum(len(row.content) for row, _ in batch.items) for batch in found) < 2**21
