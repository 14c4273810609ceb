"""The behaviour log: its three formats hold the same, and what is wrong with a row is said with its number."""

import csv
import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from training.data.events import EventLog, open_events
from training.errors import DataError

NOTES = ("a", "b", "c")
DAY = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
ROWS: list[dict[str, Any]] = [
    {"user": "u1", "note": "a", "event": "view", "time": "2026-01-01T00:00:00Z"},
    {"user": "u1", "note": "b", "event": "click", "time": "2026-01-01T02:00:05.250+02:00"},
    {"user": "u,2", "note": "a", "event": "", "time": "2026-01-01T00:01:00"},  # no zone: UTC
    {"user": "7", "note": "c", "event": "view", "time": f"{DAY + 61.5}"},
]
EXPECTED = [
    ("7", "c", "view", DAY + 61.5),
    ("u,2", "a", "", DAY + 60),
    ("u1", "a", "view", DAY),
    ("u1", "b", "click", DAY + 5.25),
]


def write_log(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        columns = ", ".join(f'? as "{name}"' for name in rows[0])
        selects = " union all ".join([f"select {columns}"] * len(rows))
        duckdb.connect().execute(f"copy ({selects}) to '{path}'", [value for row in rows for value in row.values()])
        return path
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8", newline="") as stream:
        if ".jsonl" in path.suffixes:
            stream.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            writer = csv.DictWriter(stream, [*rows[0]])
            writer.writeheader()
            writer.writerows(rows)
    return path


def content(log: EventLog) -> list[tuple[Any, ...]]:
    return log.connection.execute(
        "select user_id, note_id, coalesce(event_type, ''), moment from events order by all"
    ).fetchall()


def lines(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


FORMATS = ("csv", "csv.gz", "jsonl", "jsonl.gz", "parquet")


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_the_same(suffix: str, tmp_path: Path) -> None:
    log = open_events(write_log(tmp_path / f"events.{suffix}", ROWS), NOTES)
    assert content(log) == EXPECTED
    assert (log.count(), log.users(), log.has_times, log.dropped) == (4, 3, True, {})
    assert log.exposure() == {"a": 2, "b": 1, "c": 1}
    assert log.first_seen() == {"a": DAY, "b": DAY + 5.25, "c": DAY + 61.5}
    assert log.period() == (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 1, 1, 500_000, tzinfo=UTC))


def test_the_fingerprint_depends_on_the_events_and_not_on_their_order_or_format(tmp_path: Path) -> None:
    rows = [row for row in ROWS if row["event"]]  # an empty cell of a csv file is no text, an empty string of the others is one
    same = [write_log(tmp_path / f"events.{suffix}", rows) for suffix in FORMATS]
    same.append(write_log(tmp_path / "reversed.csv", rows[::-1]))
    marks = {open_events(path, NOTES).fingerprint() for path in same}
    assert len(marks) == 1
    other = open_events(write_log(tmp_path / "other.csv", rows[:-1]), NOTES).fingerprint()
    assert other not in marks
    assert len(other) == 16


def test_numbers_and_mixed_values_of_json_lines_are_read_as_text(tmp_path: Path) -> None:
    text = (
        '{"user": "u", "note": "a", "time": "2026-01-01T00:00:00Z"}\n{"user": 7, "note": "b", "time": 12.5, "event": "click"}\n'
    )
    log = open_events(lines(tmp_path / "events.jsonl", text), NOTES)
    assert content(log) == [("7", "b", "click", 12.5), ("u", "a", "", DAY)]


def test_times_and_numbers_of_parquet_are_read_by_their_type(tmp_path: Path) -> None:
    query = """select 7 as "user", 5 as note, timestamp '2026-01-01 00:00:00' as time"""
    duckdb.connect().execute(f"copy ({query}) to '{tmp_path / 'events.parquet'}'")
    assert content(open_events(tmp_path / "events.parquet", ["5"])) == [("7", "5", "", DAY)]


def test_positions_order_a_log_without_times(tmp_path: Path) -> None:
    log = open_events(lines(tmp_path / "events.csv", "user,note,position\nu,a,10\nu,b,9\n"), NOTES)
    assert (log.has_times, log.period()) == (False, None)
    assert content(log) == [("u", "a", "", 10), ("u", "b", "", 9)]


BAD = [
    ("no user", ",a,5"),
    ("no user", "  ,a,5"),
    ("no note", "u,,5"),
    ("unknown note", "u,zz,5"),
    ("no readable time (1970 to 2200) or position", "u,a,"),
    ("no readable time (1970 to 2200) or position", "u,a,soon"),
    ("no readable time (1970 to 2200) or position", "u,a,2026-13-01"),
    ("no readable time (1970 to 2200) or position", "u,a,nan"),
    ("no readable time (1970 to 2200) or position", "u,a,-1"),
    ("no readable time (1970 to 2200) or position", "u,a,epoch"),
    ("time in milliseconds (write Unix seconds or ISO 8601)", "u,a,1767225600000"),
    ("time in microseconds (write Unix seconds or ISO 8601)", "u,a,1767225600000000"),
    ("time in nanoseconds (write Unix seconds or ISO 8601)", "u,a,1767225600000000000"),
    ("time is a date without separators (write 2026-01-31)", "u,a,20260131"),
    ("time is a date without separators (write 2026-01-31)", "u,a,20260131.0"),
    ("time is a date without separators (write 2026-01-31)", "u,a,202601310830"),
    ("time is a date without separators (write 2026-01-31)", "u,a,20260131083059"),
]


@pytest.mark.parametrize(("problem", "row"), BAD)
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_an_invalid_row_is_named_or_dropped(problem: str, row: str, suffix: str, tmp_path: Path) -> None:
    names = ("user", "note", "time")
    rows = [dict(zip(names, cells.split(","), strict=True)) for cells in ("u,a,1", row, "u,b,2", row)]
    path = write_log(tmp_path / f"events.{suffix}", rows)
    with pytest.raises(DataError) as error:
        open_events(path, NOTES)
    note = rows[1]["note"]
    assert str(error.value) == (
        f"{path}: {problem} in 2 rows, first in row 2{f' (note {note!r})' if note else ''}. Fix them, or drop them with --drop-invalid"
    )
    log = open_events(path, NOTES, drop_invalid=True)
    assert content(log) == [("u", "a", "", 1), ("u", "b", "", 2)]
    assert log.dropped == {problem: 2}


def test_several_problems_are_counted_apart(tmp_path: Path) -> None:
    path = lines(tmp_path / "events.csv", "user,note,time\nu,zz,1\n,a,1\nu,a,1\nu,yy,1\n")
    with pytest.raises(
        DataError, match=r"no user in 1 rows, first in row 2 .*; unknown note in 2 rows, first in row 1 \(note 'zz'\)"
    ):
        open_events(path, NOTES)
    assert open_events(path, NOTES, drop_invalid=True).dropped == {"no user": 1, "unknown note": 2}


def test_a_type_that_changes_late_in_the_file_is_one_invalid_row(tmp_path: Path) -> None:
    count = 25_000  # more than DuckDB looks at to guess types
    rows = [*('{"user": 1, "note": "a", "time": 5}' for _ in range(count)), '{"user": "x", "note": "a", "time": "soon"}']
    path = lines(tmp_path / "events.jsonl", "\n".join(rows))
    with pytest.raises(DataError, match=f"first in row {count + 1} "):
        open_events(path, NOTES)
    assert open_events(path, NOTES, drop_invalid=True).count() == count


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("events.csv", "user,item,time\nu,a,1\n", "lacks the column note: it has item, time, user"),
        ("events.csv", "user,note\nu,a\n", "lacks the column time or position: it has note, user"),
        (
            "events.csv",
            "User;Note\nu;a\n",
            "lacks the column user, note, time or position: it has User;Note. .* separated by commas",
        ),
        ("events.jsonl", '{"user": "u", "time": 1}\n', "lacks the column note: it has time, user"),
        ("events.csv", "", "is empty"),
        ("events.jsonl", "", "is empty"),
        ("events.parquet", "", "is empty"),
        ("events.csv", "user,note,time\n", "contains no usable event: 0 rows were dropped and none is left"),
        ("events.csv", "user,note,time\nu,a,1\nu,b\n", r"no readable time .* in 1 rows, first in row 2 \(note 'b'\)"),
        ("events.csv", "user,note,time\nu,a,1\nu,b,1,2\n", "more cells than the header in 1 rows, first in line 3"),
        ("events.csv", 'user,note,time\nu,a,1\nu,"b,1\nu,c,2\n', "a quotation mark that is not closed .* first in line 3"),
        ("events.csv", "user,note,time,time\nu,a,1,2\n", "has the column time twice"),
        ("events.jsonl", '{"user": "u", "note": "a", "time": 1}\n{"user"\n', "not a JSON object in 1 rows, first in row 2"),
        ("events.jsonl", '{"user": "u", "note": "a", "time": 1}\n[1]\n', "not a JSON object in 1 rows, first in row 2"),
        ("events.parquet", "no parquet at all", "cannot be read: .*arquet"),
        ("events.txt", "user,note,time\n", r"events must be in a .parquet, .csv or .jsonl file"),
    ],
)
def test_files_that_cannot_be_read(name: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{name}:? {message}"):
        open_events(lines(tmp_path / name, text), NOTES)


@pytest.mark.parametrize("name", ["events.csv", "events.csv.gz", "events.jsonl", "events.parquet"])
def test_a_missing_file_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{name} is missing"):
        open_events(tmp_path / name, NOTES)


def test_a_cut_file_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "events.csv.gz").write_bytes(gzip.compress(b"user,note,time\nu,a,1\n")[:-9])
    with pytest.raises(DataError, match="cannot be read"):
        open_events(tmp_path / "events.csv.gz", NOTES)


def test_a_log_of_invalid_rows_alone_is_refused(tmp_path: Path) -> None:
    path = lines(tmp_path / "events.csv", "user,note,time\nu,zz,1\n")
    with pytest.raises(DataError, match="contains no usable event: 1 rows were dropped and none is left"):
        open_events(path, NOTES, drop_invalid=True)
