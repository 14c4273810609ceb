"""Notes files: the three formats hold the same, and what is wrong with a row is said with its place."""

import csv
import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from notellm import Note
from training.data.notes import read_notes, read_valid_notes
from training.errors import DataError

NOTES = {
    "a": Note(id="a", title='Cold, "iced" brew', content="two\nlines", hashtags=("coffee", "King Glory"), category="drinks"),
    "b": Note(id="b", content="你好", created_at=datetime(2026, 1, 1, 0, 0, 0, 125_000, tzinfo=UTC), version=3),
    "c": Note(id="c", hashtags=("x",)),
}


def write(path: Path) -> Path:
    rows = [note.model_dump(mode="json") for note in NOTES.values()]
    if path.suffix == ".parquet":
        lines = path.with_suffix(".jsonl")
        lines.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        columns = "columns = {id: 'VARCHAR', title: 'VARCHAR', content: 'VARCHAR', hashtags: 'VARCHAR[]', category: 'VARCHAR', "
        source = f"read_json('{lines}', {columns}created_at: 'TIMESTAMPTZ', version: 'BIGINT'}})"
        duckdb.connect().execute(f"copy (select * from {source}) to '{path}'")
        return path
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8", newline="") as stream:
        if ".csv" in path.suffixes:
            writer = csv.DictWriter(stream, [*rows[0]])
            writer.writeheader()
            writer.writerows(row | {"hashtags": "|".join(row["hashtags"])} for row in rows)
        else:
            kept = ({name: value for name, value in row.items() if value is not None} for row in rows)
            stream.writelines(json.dumps(row) + "\n" for row in kept)
    return path


def put(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "jsonl", "jsonl.gz", "parquet"])
def test_every_format_gives_the_same(suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"notes.{suffix}")
    assert read_valid_notes(path) == (NOTES, {})
    assert [*read_notes(path)] == [*NOTES.values()]


@pytest.mark.parametrize(
    ("cell", "hashtags"),
    [
        ("x|y z|", ("x", "y z")),
        ('"[""x"", ""y|z""]"', ("x", "y|z")),
        ("[x]", ("[x]",)),  # a name in brackets
        ("#x", ("x",)),
        ("", ()),
    ],
)
def test_hashtags_in_a_cell(cell: str, hashtags: tuple[str, ...], tmp_path: Path) -> None:
    (note,) = read_notes(put(tmp_path / "notes.csv", f"id,title,hashtags\na,t,{cell}\n"))
    assert note.hashtags == hashtags


def test_a_spreadsheet_may_have_put_a_mark_before_its_first_column(tmp_path: Path) -> None:
    assert [note.id for note in read_notes(put(tmp_path / "notes.csv", "\ufeffid,title\r\na,t\r\n"))] == ["a"]


def test_versions_with_gaps_that_were_saved_as_floats_are_versions(tmp_path: Path) -> None:
    path = tmp_path / "notes.parquet"
    rows = "values ('a', 't', 3.0::DOUBLE), ('b', 't', 'nan'::DOUBLE), ('c', 't', null)"
    duckdb.connect().execute(f"copy (select * from ({rows}) as notes(id, title, version)) to '{path}'")
    assert {note.id: note.version for note in read_notes(path)} == {"a": 3, "b": None, "c": None}


HEADER = "id,title,created_at,version"
BAD = [
    ("a,again,,", "duplicate id", "line 3: id a is already in line 2"),
    (",no id,,", "id: missing", "line 3, id: Field required"),
    ("b b,t,,", "id: string_pattern_mismatch", "line 3, id: String should match pattern"),
    (
        "b,,,",
        "note: value_error",
        "line 3, note: a note needs a title, content or hashtags: all three are empty",
    ),
    ("b,t,yesterday,", "created_at: datetime_parsing", "line 3, created_at: must be ISO 8601 with a time zone"),
    ("b,t,2026-01-01T00:00:00,", "created_at: timezone_aware", "line 3, created_at: Input should have timezone info"),
    ("b,t,,new", "version: int_type", "line 3, version: Input should be a valid integer"),
    (
        "b,t,,1,more",
        "cannot be read",
        "line 3: has 5 cells, and the header has 4: put text that contains commas into double quotes",
    ),
]


@pytest.mark.parametrize(("row", "reason", "message"), BAD)
def test_an_invalid_row_is_named_or_dropped(row: str, reason: str, message: str, tmp_path: Path) -> None:
    path = put(tmp_path / "notes.csv", f"{HEADER}\na,t,,\n{row}\nlast,t,,\n")
    with pytest.raises(DataError) as error:
        read_valid_notes(path)
    assert f"notes.csv: 1 invalid rows. {message}" in str(error.value)
    assert str(error.value).endswith(". Fix them, or drop them with --drop-invalid")
    notes, dropped = read_valid_notes(path, drop_invalid=True)
    assert ([*notes], notes["a"].title) == (["a", "last"], "t")
    assert dropped == {reason: 1}


def test_many_invalid_rows_are_counted_and_three_are_shown(tmp_path: Path) -> None:
    path = put(tmp_path / "notes.csv", "id,title\n" + ",t\n" * 5 + "a,t\na,t\n")
    with pytest.raises(DataError) as error:
        read_valid_notes(path)
    assert "6 invalid rows" in str(error.value)
    assert str(error.value).count("Field required") == 3
    assert read_valid_notes(path, drop_invalid=True)[1] == {"id: missing": 5, "duplicate id": 1}


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("likes", "not fields of a note: 'likes'"),
        ("hashtag", "'hashtag'. Did you mean hashtags"),
        ("Title_", "'Title_'. Did you mean title"),
    ],
)
def test_columns_of_parquet_are_checked_too(column: str, message: str, tmp_path: Path) -> None:
    duckdb.connect().execute(f"copy (select 'a' as id, 't' as title, 'x' as {column}) to '{tmp_path / 'notes.parquet'}'")
    with pytest.raises(DataError, match=message):
        read_valid_notes(tmp_path / "notes.parquet")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("notes.csv", "", "has no column id"),
        ("notes.jsonl", "", "contains no valid note"),
        ("notes.parquet", "", "is not a readable parquet file: "),
        ("notes.parquet", "no parquet at all", "is not a readable parquet file: "),
        ("notes.csv", "id,title\n", "contains no valid note"),
        ("notes.csv", "note,title\na,t\n", "has columns that are not fields of a note: 'note'"),
        ("notes.csv", "id;title\na;t\n", "must have commas between its columns, not ';'"),
        ("notes.csv", 'id,title\na,"t\n', "1 invalid rows. line 2: unexpected end of data"),
    ],
)
def test_files_that_cannot_be_read(name: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{name}:? {message}"):
        read_valid_notes(put(tmp_path / name, text))


@pytest.mark.parametrize("name", ["notes.csv", "notes.jsonl.gz", "notes.parquet"])
def test_a_missing_file_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{name} is missing"):
        read_valid_notes(tmp_path / name)


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    for name in ("notes.csv", "notes.jsonl"):
        (tmp_path / name).write_bytes("id,title\na,é\n".encode("latin-1"))
        with pytest.raises(DataError, match=name):
            read_valid_notes(tmp_path / name)


def test_nothing_but_invalid_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="contains no valid note"):
        read_valid_notes(put(tmp_path / "notes.csv", "id,title\n,t\n"), drop_invalid=True)
