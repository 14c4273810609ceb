"""The notes file: one JSON object a line, with the fields of `Note`; `.gz` is unpacked on the way."""

import gzip
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError

from notellm.note import Note
from training.errors import DataError


def read_notes(path: Path) -> Iterator[Note]:
    """The notes of a `.jsonl` or `.jsonl.gz` file.

    Raises:
        DataError: names the line and the field that is wrong, or the id that stands twice.
    """
    seen: dict[str, int] = {}
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            note = Note.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "note"
            raise DataError(f"{path}, line {number}, {field}: {first['msg']}") from error
        if (earlier := seen.setdefault(note.id, number)) != number:
            raise DataError(f"{path}, line {number}: id {note.id} stands in line {earlier} already")
        yield note


def write_notes(path: Path, notes: Iterable[Note]) -> None:
    """Writes a `.jsonl.gz` file that is the same, byte for byte, for the same notes."""
    lines = "".join(note.model_dump_json(exclude_none=True) + "\n" for note in notes)
    path.write_bytes(gzip.compress(lines.encode(), mtime=0))


def fingerprint(notes: Iterable[Note]) -> str:
    """SHA-256 (hex) over the ids and contents of the notes, in order."""
    digest = hashlib.sha256()
    for note in notes:
        digest.update(f"{note.id}\t{note.content_hash}\t{note.category}\n".encode())
    return digest.hexdigest()


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            yield from stream
    except (OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
