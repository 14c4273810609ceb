"""Reads and writes notes files: one note per row, with the fields of `Note`, in JSON lines, CSV (both also with .gz) or parquet.

In CSV and parquet, hashtags are a list, a JSON list as text, or names separated by `|`; an empty cell means that the field is absent.
"""

import csv
import gzip
import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import duckdb
from pydantic import ValidationError

from notellm.note import Note
from notellm.table_rows import tidy
from training.errors import DataError

_ROWS_AT_A_TIME = 10_000
# DuckDB converts times with a zone to Python objects only if pytz is installed.
_CELL = {"TIMESTAMP WITH TIME ZONE": "strftime({0}, '%Y-%m-%dT%H:%M:%S.%fZ')"}
Row = dict[str, Any]


def read_notes(path: Path) -> Iterator[Note]:
    """Yields the notes of a file.

    Raises:
        DataError: a row is invalid or its id is a duplicate; the message names the line and the field or id.
    """
    for note, problem in _checked(path):
        if note is None:
            raise DataError(f"{path}, {problem[1]}")
        yield note


def read_valid_notes(path: Path, *, drop_invalid: bool = False) -> tuple[dict[str, Note], dict[str, int]]:
    """The notes of a file by id, and the number of dropped rows by reason.

    Args:
        path: the file.
        drop_invalid: drop invalid rows instead of refusing the file.

    Raises:
        DataError: the file cannot be read or has no valid note, or `drop_invalid` is false and rows are invalid. The message then gives
            their number and the first ones.
    """
    notes: dict[str, Note] = {}
    problems: Counter[str] = Counter()
    first: list[str] = []
    for note, (reason, where) in _checked(path):
        if note is not None:
            notes[note.id] = note
            continue
        problems[reason] += 1
        first += [where] if len(first) < 3 else []  # noqa: PLR2004
    if problems and not drop_invalid:
        raise DataError(
            f"{path}: {problems.total():,} invalid rows. {'. '.join(first)}. Fix them, or drop them with --drop-invalid"
        )
    if not notes:
        raise DataError(f"{path} contains no valid note")
    return notes, dict(problems)


def write_notes(path: Path, notes: Iterable[Note]) -> None:
    """Writes a `.jsonl.gz` file; the same notes always give the same bytes."""
    lines = "".join(note.model_dump_json(exclude_none=True) + "\n" for note in notes)
    path.write_bytes(gzip.compress(lines.encode(), mtime=0))


def fingerprint(notes: Iterable[Note]) -> str:
    """SHA-256 (hex) of the ids and contents of the notes, in their order."""
    digest = hashlib.sha256()
    for note in notes:
        digest.update(f"{note.id}\t{note.content_hash}\t{note.category}\n".encode())
    return digest.hexdigest()


def _checked(path: Path) -> Iterator[tuple[Note | None, tuple[str, str]]]:
    """Yields the note of each row, or None with the kind of its problem and a message that names its place."""
    seen: dict[str, str] = {}
    for place, row in _rows(path):
        try:
            note = Note.model_validate(row) if isinstance(row, dict) else Note.model_validate_json(row)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "note"
            yield None, (f"{field.partition('.')[0]}: {first['type']}", f"{place}, {field}: {first['msg']}")
            continue
        if (earlier := seen.setdefault(note.id, place)) != place:
            yield None, ("duplicate id", f"{place}: id {note.id} is already in {earlier}")
            continue
        yield note, ("", "")


def _rows(path: Path) -> Iterator[tuple[str, Row | bytes]]:
    """Yields the rows, each with its place in the file."""
    kind = next((part for part in reversed(path.suffixes) if part != ".gz"), "")
    if kind == ".parquet":
        yield from _parquet_rows(path)
    elif kind == ".csv":
        yield from _csv_rows(path)
    elif kind != ".jsonl":
        raise DataError(f"{path}: notes must be in a .parquet, .csv or .jsonl file (also with .gz)")
    else:
        yield from ((f"line {number}", line) for number, line in enumerate(_lines(path), start=1) if line.strip())


def _csv_rows(path: Path) -> Iterator[tuple[str, Row]]:
    csv.field_size_limit(10_000_000)
    try:
        text = io.TextIOWrapper(io.BytesIO(b"".join(_lines(path))), encoding="utf-8-sig", newline="")
        reader = csv.DictReader(text, restkey="cell without a column", strict=True)
        for row in reader:
            yield f"line {reader.line_num}", tidy({str(name): value for name, value in row.items()})
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a readable CSV file: {error}") from error


def _parquet_rows(path: Path) -> Iterator[tuple[str, Row]]:
    if not path.is_file():
        raise DataError(f"{path} is missing")
    try:
        with duckdb.connect() as connection:
            connection.execute("set timezone = 'UTC'")
            columns = connection.execute("describe select * from read_parquet(?)", [str(path)]).fetchall()
            cells = ", ".join(_CELL.get(kind, "{0}").format(f'"{name}"') for name, kind, *_ in columns)
            found = connection.execute(f"select {cells} from read_parquet(?)", [str(path)])  # noqa: S608
            names = [column[0] for column in columns]
            number = 0
            while rows := found.fetchmany(_ROWS_AT_A_TIME):
                for row in rows:
                    number += 1
                    yield f"row {number}", tidy(dict(zip(names, row, strict=True)))
    except duckdb.Error as error:
        raise DataError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            yield from stream
    except (OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
