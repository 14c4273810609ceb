"""Files of events as tools write them: each gives the same events, or is refused without a word of SQL."""

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.data.events import open_events
from training.errors import DataError

NOTES = ("a1", "a2")
AT = datetime(2026, 1, 31, 8, tzinfo=UTC)
SECONDS = AT.timestamp()
EXPECTED = [("u1", "a1", SECONDS), ("u1", "a2", SECONDS + 60)]
CSV = f"user,note,time\nu1,a1,{SECONDS:.0f}\nu1,a2,{SECONDS + 60:.0f}\n"


def read(path: Path) -> list[tuple[Any, ...]]:
    log = open_events(path, NOTES)
    return log.connection.execute("select user_id, note_id, moment from events order by all").fetchall()


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def parquet(path: Path, **changes: pa.Array) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {
        "user": pa.array(["u1", "u1"]),
        "note": pa.array(["a1", "a2"]),
        "time": pa.array([SECONDS, SECONDS + 60]),
    } | changes
    with path.open("wb") as stream:  # pyarrow would take `~` in a path for the home folder
        pq.write_table(pa.table(columns), stream)
    return path


def columns(header: str, first: str, second: str) -> str:
    """`CSV` with more columns."""
    head, *rows = CSV.splitlines()
    return f"{header.replace('*', head)}\n{first.replace('*', rows[0])}\n{second.replace('*', rows[1])}\n"


TABLES = {
    "plain": CSV,
    "gaps of a spreadsheet": columns("*,,", "*,,", "*") + ",,,,\n\n",
    "pandas' index": columns(",*", "0,*", "1,*"),
    "pandas' index, written twice": columns("Unnamed: 0,,*", "0,0,*", "1,1,*"),
    "two columns of one name": columns("*,page,page", "*,x,y", "*,z,"),
    "names that differ in case": columns("User,*,TIME", "x,*,y", "x,*,y"),
    "names of SQL": columns('*,select,"a\'b",c0', '*,1,2,"x;y"', "*,1,2,3"),
    "empty cells after the last column": columns("*", "*,,", "*,"),
    "a header cell with a line break": columns('*,"page\n(address)"', "*,x", "*,y"),
    "quoted line breaks": columns("*,text", '*,"one\ntwo, ""three"""', '*,"\n"'),
    "quoted line breaks and missing cells": columns("*,text,more", '*,"one\ntwo",x', "*"),
    "a mark before the first column": "\ufeff" + CSV,
    "Windows": CSV.replace("\n", "\r\n"),
    "old Mac": CSV.replace("\n", "\r"),
    "mixed line ends": CSV.replace("\n", "\r\n", 1),
    "mixed line ends, later": CSV + "\r\n",
    "blank lines": "\n\n" + CSV.replace("\n", "\n\n"),
    "a row of empty cells first": ",,\n" + CSV,
    "no line end": CSV.rstrip(),
    "quotes": "\n".join(",".join(f'"{cell}"' for cell in row.split(",")) for row in CSV.splitlines()),
    "spaces in the header": CSV.replace("user,note,time", " user, note ,time"),
    "ISO 8601": CSV.replace(f"{SECONDS:.0f}", "2026-01-31T16:00:00+08:00").replace(
        f"{SECONDS + 60:.0f}", "2026-01-31 08:01:00"
    ),
    "numbers with a fraction": CSV.replace(f"{SECONDS:.0f}", f"{SECONDS:.3f}"),
}


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
@pytest.mark.parametrize("name", TABLES)
def test_csv(name: str, suffix: str, tmp_path: Path) -> None:
    assert read(write(tmp_path / f"events{suffix}", TABLES[name])) == EXPECTED


def lines(more: Callable[[int], dict[str, Any]] = lambda _: {}) -> str:
    rows = [{"user": user, "note": note, "time": at} for user, note, at in EXPECTED]
    return "".join(json.dumps(row | more(number)) + "\n" for number, row in enumerate(rows))


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
@pytest.mark.parametrize(
    "content",
    [
        lines(), "\ufeff" + lines(), lines().replace("\n", "\r\n"), lines().replace("\n", "\r"), "\n" + lines().replace("\n", "\n\n"),
        lines().rstrip(), lines(lambda number: {f"key {number}": {"x": [1, {"y": number}]}}),
        lines(lambda _: {"position": None, "event": None}),
    ],
    ids=["plain", "byte order mark", "Windows", "old Mac", "blank lines", "no line end", "nested values", "nulls"],
)  # fmt: skip
def test_json_lines(content: str, suffix: str, tmp_path: Path) -> None:
    assert read(write(tmp_path / f"events{suffix}", content)) == EXPECTED


@pytest.mark.parametrize("rare", [10, 150, 300, 2000])
def test_rare_keys_by_the_hundred(rare: int, tmp_path: Path) -> None:
    rows = [{"user": f"u{n % 50}", "note": "a1", "time": 1767225600 + n, f"prop_{n % rare}": "x"} for n in range(2000)]
    log = open_events(write(tmp_path / "events.jsonl", "\n".join(map(json.dumps, rows))), NOTES)
    assert (log.count(), log.users(), log.has_times) == (2000, 50, True)


def test_a_key_that_comes_late_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.data.events._JSON_ROWS_LOOKED_AT", 1)
    text = '{"user": "u", "note": "a1", "position": 1}\n{"user": "u", "note": "a2", "position": 2, "event": "click"}\n'
    log = open_events(write(tmp_path / "events.jsonl", text), NOTES)
    assert log.connection.execute("select event_type, moment from events order by moment").fetchall() == [
        (None, 1),
        ("click", 2),
    ]
    assert not log.has_times


TIMES = {
    "microseconds in UTC": pa.timestamp("us", "UTC"),
    "nanoseconds in UTC": pa.timestamp("ns", "UTC"),
    "milliseconds in UTC": pa.timestamp("ms", "UTC"),
    "nanoseconds elsewhere": pa.timestamp("ns", "Asia/Shanghai"),
    "nanoseconds without a zone": pa.timestamp("ns"),
    "seconds without a zone": pa.timestamp("s"),
}


@pytest.mark.parametrize("kind", TIMES)
def test_times_of_parquet(kind: str, tmp_path: Path) -> None:
    times = [datetime.fromtimestamp(at, UTC if TIMES[kind].tz else None) for _, _, at in EXPECTED]
    times = times if TIMES[kind].tz else [datetime.fromtimestamp(at, UTC).replace(tzinfo=None) for _, _, at in EXPECTED]
    assert read(parquet(tmp_path / "events.parquet", time=pa.array(times, TIMES[kind]))) == EXPECTED


@pytest.mark.parametrize(
    "column",
    [
        pa.array([int(SECONDS), int(SECONDS) + 60]),
        pa.array([Decimal(int(SECONDS)), Decimal(int(SECONDS) + 60)], pa.decimal128(38, 0)),
        pa.array([f"{SECONDS:.0f}", "2026-01-31T08:01:00Z"]),
        pa.array([f"{SECONDS:.0f}", f"{SECONDS + 60:.0f}"]).dictionary_encode(),
    ],
    ids=["integers", "a database's numbers", "text", "dictionary"],
)
def test_numbers_and_texts_as_times_of_parquet(column: pa.Array, tmp_path: Path) -> None:
    assert read(parquet(tmp_path / "events.parquet", time=column)) == EXPECTED


@pytest.mark.parametrize(
    ("field", "column"),
    [
        ("user", pa.array(["u1", "u1"]).dictionary_encode()),
        ("note", pa.array(["a1", "a2"], pa.large_string())),
        ("user", pa.array([b"u1", b"u1"])),
        ("note", pa.array(["a1", "a2"]).cast(pa.string_view())),
        ("page", pa.array([[1], [2, 3]])),
        ("page", pa.array([{"x": [1]}, {"x": []}])),
        ("User", pa.array([1, 2])),
        ("__index_level_0__", pa.array([1, 2])),
        ("", pa.array([1, 2])),
        ("file_row_number", pa.array([9, 9])),
    ],
    ids=[
        "dictionary",
        "large text",
        "bytes",
        "text view",
        "lists",
        "structs",
        "a name in capitals",
        "pandas' index",
        "no name",
        "a name of DuckDB's",
    ],
)
def test_columns_of_parquet(field: str, column: pa.Array, tmp_path: Path) -> None:
    assert read(parquet(tmp_path / "events.parquet", **{field: column})) == EXPECTED


@pytest.mark.parametrize(
    "folder", ["dt=2026-11-01", "event=all", "user=u9/time=5", "a*b", "a[1]", "{x,y}", "?", "**", "~", "quote's", "c:"]
)
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_path_is_only_a_path(folder: str, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not a pattern, and it does not add columns."""
    path = Path(folder) / f"events[1] note=x?.{suffix}"
    monkeypatch.chdir(tmp_path)
    for place in (Path("aab") / path.name, path.with_name(f"events1 note=xy.{suffix}"), path):
        content = {"csv": CSV, "jsonl": lines()}.get(suffix)
        write(place, content) if content else parquet(place)
    assert read(path) == read(path.absolute()) == EXPECTED


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("e.csv", "user\tnote\ttime\nu\ta\t1\n", "Its columns must be separated by commas"),
        ("e.csv", "user,note,time,time\n", "has the column time twice: remove or rename one of them"),
        ("e.csv", CSV.encode("utf-16"), "is UTF-16: save it as UTF-8"),
        ("e.csv", gzip.compress(CSV.encode(), mtime=0), "is gzipped: let its name end in .gz"),
        ("e.jsonl", b"PAR1", "is a parquet file"),
        ("e.csv", b"PK\x03\x04", "is a spreadsheet or a zip archive"),
        ("e.parquet", CSV, "cannot be read: .*[Pp]arquet"),
        ("e.csv", CSV.encode() + b"u\xff,a1,5\n", "text that is not UTF-8 in 1 rows, first in line 4"),
        ("e.csv", CSV + 'u1,"a1,5\n' + CSV, "a quotation mark that is not closed .*first in line 4. Close or double"),
        ("e.jsonl", lines() + '{"user": "u', "not a JSON object in 1 rows, first in row 3"),
        ("e.jsonl", lines() + '{"user": "\ufffd"}\n', "no note in 1 rows, first in row 3"),
        ("e.jsonl", '{"a": 1}\n', "lacks the column user, note, time or position: it has a"),
        ("e.jsonl", "[]\n", "lacks the column user, note, time or position: it has none"),
        ("e.parquet.gz", b"x", "events must be in a .parquet, .csv or .jsonl file"),
    ],
)
def test_files_that_are_refused(name: str, content: str | bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError, match=message) as error:
        read(path)
    assert not any(word in str(error.value) for word in ("select", "Binder", "LINE", "read_csv", "/proc/", "\n")), str(
        error.value
    )


@pytest.mark.parametrize("name", ["e.parquet", "e.csv", "e.jsonl"])
def test_a_folder_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=f"{name} is a folder: name one file"):
        read(tmp_path / name)


def test_bad_rows_of_csv_are_dropped_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "e.csv", CSV.encode() + b"u\xff,a1,5\nu1,a1,5,6\nu1,a1,7\n")
    log = open_events(path, NOTES, drop_invalid=True)
    assert log.dropped == {"text that is not UTF-8": 1, "more cells than the header": 1}
    assert log.count() == 3


def test_an_open_quotation_mark_is_never_dropped_because_it_may_swallow_the_rest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Close or double the quotation mark"):
        open_events(write(tmp_path / "e.csv", CSV + 'u1,"a1,5\n' + CSV), NOTES, drop_invalid=True)


def test_nothing_is_left_in_the_folder_for_temporary_files(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    open_events(write(tmp_path / "e.csv", CSV.replace("\n", "\r")), NOTES, scratch=scratch).connection.close()
    assert list(scratch.iterdir()) == []
