"""A file of notes is opened by its name alone, and one that is not a file of notes says what it is.

Training and `notellm-serve ingest` read files with this one reader.
"""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from notellm.errors import NoteFileError
from notellm.note_files import open_rows
from tests.notellm.note_files.files import CSV, LINES, A, B, notes, parquet, read, write

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "folder", ["dt=2026-11-01", "category=tea", "id=x/version=7", "a*b", "a[1]", "{x,y}", "?", "**", "~", "c:"]
)
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_path_is_only_a_path(folder: str, suffix: str, tmp_path: Path) -> None:
    """It is not a pattern, and it does not add columns."""
    write(tmp_path / "aab" / f"notes.{suffix}", "another file")
    path = tmp_path / folder / f"notes[1] title=x.{suffix}"
    path.parent.mkdir(parents=True)
    if suffix == "parquet":
        parquet(path, {"id": ["a1", "a2"], "title": ["Cold brew", "Espresso"]})
    else:
        write(path, CSV if suffix == "csv" else LINES)
    assert notes(path) == [A, B]


def test_the_file_of_pyarrow_and_of_the_csv_module_give_the_same(tmp_path: Path) -> None:
    full = {**A, "content": "x", "hashtags": ("p", "q"), "category": "c", "created_at": NOON, "version": 3}
    text = f"id,title,content,hashtags,category,created_at,version\na1,Cold brew,x,p|q,c,{NOON.isoformat()},3\n"
    table = pa.Table.from_pylist([{**full, "hashtags": ["p", "q"]}])
    line = json.dumps({**full, "created_at": NOON.isoformat()})
    paths = (write(tmp_path / "n.csv", text), parquet(tmp_path / "n.parquet", table), write(tmp_path / "n.jsonl", line))
    assert [notes(path) for path in paths] == [[full]] * 3


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("n.csv", "id;title\na;b\n", "must have commas between its columns, not ';'"),
        ("n.csv", "id\ttitle\na\tb\n", r"must have commas between its columns, not '\\t'"),
        ("n.csv", "id,title,title\na,b,c\n", "has the column title twice"),
        ("n.csv", "id,tags\na,b\n", "columns that are not fields of a note: 'tags'. Did you mean hashtags"),
        ("n.csv", 'id,"title\n(English)"\na,b\n', r"not fields of a note: 'title\\n\(English\)'"),
        ("n.csv", ",title\na,b\n", "has no column id"),
        ("n.csv", "\n\n", "has no column id"),
        ("n.csv", 'id,"title\na,b\n', "has columns that are not fields|is not a readable CSV file"),
        ("n.csv", CSV.encode("utf-16"), "is UTF-16: save it as UTF-8"),
        ("n.jsonl", LINES.encode("utf-16"), "is UTF-16: save it as UTF-8"),
        ("n.csv", gzip.compress(CSV.encode(), mtime=0), "is gzipped: let its name end in .gz"),
        ("n.jsonl", b"PAR1\x15\x04", "is a parquet file"),
        ("n.csv", b"PK\x03\x04\x14\x00", "is a spreadsheet or a zip archive"),
        ("n.parquet", CSV, "is not a readable parquet file"),
        ("n.xlsx", b"PK\x03\x04", "is not a file of notes: its name must end in"),
        ("n.parquet.gz", b"", "is not a file of notes: its name must end in"),
        ("n", CSV, "is not a file of notes: its name must end in"),
    ],
)
def test_files_that_are_refused(name: str, content: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(NoteFileError, match=message):
        read(write(tmp_path / name, content))


def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.parquet").mkdir()
    with pytest.raises(NoteFileError, match="is a folder: name one file"):
        open_rows(tmp_path / "notes.parquet")
