"""Reads and writes notes files: one note per row, with the fields of `Note`, in JSON lines, CSV (both also with .gz) or parquet."""

import gzip
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from pydantic import ValidationError

from notellm.errors import NoteFileError
from notellm.note import Note
from notellm.note_files import open_rows, read_note
from training.errors import DataError


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
    try:
        with closing(open_rows(path)) as rows:
            for row in rows:
                try:
                    note = read_note(row)
                except ValidationError as error:
                    first = error.errors()[0]
                    field, message = ".".join(map(str, first["loc"])) or "note", first["msg"].removeprefix("Value error, ")
                    yield None, (f"{field.partition('.')[0]}: {first['type']}", f"{row.place}, {field}: {message}")
                except ValueError as error:
                    yield None, ("cannot be read", f"{row.place}: {error}")
                else:
                    if (earlier := seen.setdefault(note.id, row.place)) == row.place:
                        yield note, ("", "")
                    else:
                        yield None, ("duplicate id", f"{row.place}: id {note.id} is already in {earlier}")
    except NoteFileError as error:
        raise DataError(str(error)) from error
