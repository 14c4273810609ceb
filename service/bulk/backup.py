"""The backup file, in JSON lines: a header, one line per note or deletion, and a footer that proves that the file is complete."""

import gzip
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, Literal, cast

from pydantic import BaseModel, ValidationError

from notellm.client import ServiceProblem
from service.bulk.client import Json, ServiceClient
from service.bulk.report import Report
from service.durable_files import open_durably
from service.errors import CommandError

FORMAT: Literal["notellm-backup"] = "notellm-backup"
PAGE_NOTES = 100
_CHANGED = "Nothing is written, because the model changed during the export: run export again"


class Header(BaseModel):
    """First line of a backup.

    Attributes:
        format_version: version of the format; version 1 had no deletions.
        vector_name: name of the vectors: the checkpoint's name and fingerprint.
        dimensions: components of a vector.
    """

    format: Literal["notellm-backup"] = FORMAT
    format_version: Literal[1, 2] = 2
    vector_name: str
    dimensions: int


class Footer(BaseModel):
    """Last line of a backup.

    Attributes:
        notes: how many notes the file must hold.
        deleted: how many deletions the file must hold.
        without_vector: how many of the notes had no vector of the model yet.
    """

    notes: int
    deleted: int = 0
    without_vector: int = 0


async def export(client: ServiceClient, path: Path) -> Footer:
    """Writes every note of the index to a file, which appears when it is complete; returns the counts.

    Raises:
        CommandError: the file cannot be written, or the service has stopped answering or has dropped the model.
    """
    count, total, deleted, without_vector = 0, 0, 0, 0
    with _atomic_writer(path) as stream, Report("export") as report:
        async for page in pages(client):
            if "total" in page:
                total = page["total"]
                _write(stream, Header(vector_name=page["vector_name"], dimensions=page["dimensions"]).model_dump())
            for note in page["notes"]:
                _write(stream, note)
                without_vector += note.get("vector") is None
            for deletion in page.get("deleted", []):  # earlier releases of the service do not send this field
                _write(stream, {"deleted": deletion})
                deleted += 1
            count += len(page["notes"])
            report.advance(len(page["notes"]), min(count / max(total, 1), 1.0))
        footer = Footer(notes=count, deleted=deleted, without_vector=without_vector)
        _write(stream, footer.model_dump())
    return footer


async def pages(client: ServiceClient) -> AsyncIterator[Json]:
    """Yields all pages, with the vectors of the model that answers the first request."""
    page = await client.get("/admin/notes", limit=PAGE_NOTES)
    yield page
    name = page["vector_name"]
    while following := page.get("next"):
        try:
            page = await client.get("/admin/notes", limit=PAGE_NOTES, start=following, vector_name=name)
        except ServiceProblem as refusal:
            if refusal.status == HTTPStatus.UNPROCESSABLE_ENTITY:
                raise CommandError(f"{refusal}. {_CHANGED}") from refusal
            raise
        if page["vector_name"] != name:  # earlier releases ignore `vector_name` and send vectors of the model that answers now
            raise CommandError(f"the export began with vectors of {name}, but {page['vector_name']} answers now. {_CHANGED}")
        yield page


def read_header(path: Path) -> Header:
    """Reads the header of a backup and checks that the file is complete.

    Raises:
        CommandError: the file is not a backup, or is incomplete.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            header = Header.model_validate_json(stream.readline())
            last, lines = _last_line(stream)
    except ValidationError as error:
        raise CommandError(
            f"{path} is not a backup that this release can read: its first line is not a valid header"
        ) from error
    except (OSError, EOFError) as error:
        raise CommandError(f"{path} cannot be read: {error}") from error
    with suppress(ValidationError):
        footer = Footer.model_validate_json(last)
        if footer.notes + footer.deleted == lines - 1:
            return header
    raise CommandError(
        f"{path} is incomplete: its last line does not say that it holds {max(lines - 1, 0):,} notes. Make a new backup"
    )


def _last_line(stream: Iterable[bytes]) -> tuple[bytes, int]:
    """Returns the last line and the number of lines."""
    last, count = b"", 0
    for count, last in enumerate(stream, start=1):  # noqa: B007 - used after the loop
        pass
    return last, count


def _write(stream: IO[bytes], line: Json) -> None:
    stream.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")


@contextmanager
def _atomic_writer(path: Path) -> Iterator[IO[bytes]]:
    """Opens a stream to a file that gets its name only when all of its content is on disk."""
    try:
        with open_durably(path) as raw:
            if path.suffix == ".gz":
                with gzip.GzipFile(fileobj=raw, mode="wb", filename="") as packed:
                    yield cast("IO[bytes]", packed)
            else:
                yield raw
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error}") from error


def is_frame(line: dict[str, Any]) -> bool:
    """Whether a line is the header or the footer."""
    return "note" not in line and ("format" in line or "notes" in line)
