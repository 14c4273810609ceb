"""The backup file: JSON lines. A header, a note a line with its vector or its deletion, and a footer that shows that it is whole."""

import gzip
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, Literal, cast

from pydantic import BaseModel, ValidationError

from service.bulk.client import Json, Refused, ServiceClient
from service.bulk.report import Report
from service.durable_files import open_durably
from service.errors import CommandError

FORMAT: Literal["notellm-backup"] = "notellm-backup"
PAGE_NOTES = 100
_CHANGED = "Nothing is written, since the model changed meanwhile: run export again"


class Header(BaseModel):
    """First line.

    Attributes:
        format_version: in 1 there were no deletions.
        vector_name: whose vectors these are: a checkpoint's name and fingerprint.
    """

    format: Literal["notellm-backup"] = FORMAT
    format_version: Literal[1, 2] = 2
    vector_name: str
    dimensions: int


class Footer(BaseModel):
    """Last line.

    Attributes:
        notes, deleted: how many there must be.
        without_vector: notes among them that had no vector of the model yet.
    """

    notes: int
    deleted: int = 0
    without_vector: int = 0


async def export(client: ServiceClient, path: Path) -> Footer:
    """Writes every note of the index to a file, which appears when it is whole; returns how many there are.

    Raises:
        CommandError: the file cannot be written, or the service does not answer any more, or has dropped the model.
    """
    count, total, deleted, without = 0, 0, 0, 0
    with _whole(path) as stream, Report("export") as report:
        async for page in _pages(client):
            if "total" in page:
                total = page["total"]
                _write(stream, Header(vector_name=page["vector_name"], dimensions=page["dimensions"]).model_dump())
            for note in page["notes"]:
                _write(stream, note)
                without += note.get("vector") is None
            for left in page.get("deleted", []):  # a service of an earlier release gives none
                _write(stream, {"deleted": left})
                deleted += 1
            count += len(page["notes"])
            report.advance(len(page["notes"]), min(count / max(total, 1), 1.0))
        footer = Footer(notes=count, deleted=deleted, without_vector=without)
        _write(stream, footer.model_dump())
    return footer


async def _pages(client: ServiceClient) -> AsyncIterator[Json]:
    """All pages, by the vectors of the model that answers when the first one is asked for."""
    page = await client.get("/admin/notes", limit=PAGE_NOTES)
    yield page
    name = page["vector_name"]
    while following := page.get("next"):
        try:
            page = await client.get("/admin/notes", limit=PAGE_NOTES, start=following, vector_name=name)
        except Refused as refusal:
            if refusal.status == HTTPStatus.UNPROCESSABLE_ENTITY:
                raise CommandError(f"{refusal}. {_CHANGED}") from refusal
            raise
        if page["vector_name"] != name:  # of a release that gives those of the model that answers
            raise CommandError(f"the export began with vectors of {name}, and {page['vector_name']} answers now. {_CHANGED}")
        yield page


def read_header(path: Path) -> Header:
    """The header of a backup that is whole.

    Raises:
        CommandError: it is no backup, or is not whole.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            header = Header.model_validate_json(stream.readline())
            last, lines = _last_line(stream)
    except ValidationError as error:
        raise CommandError(f"{path} is no backup that this release reads: its first line is no header of one") from error
    except (OSError, EOFError) as error:
        raise CommandError(f"{path} cannot be read: {error}") from error
    with suppress(ValidationError):
        footer = Footer.model_validate_json(last)
        if footer.notes + footer.deleted == lines - 1:
            return header
    raise CommandError(
        f"{path} is not whole: its last line does not say that it holds {max(lines - 1, 0):,} notes. Take another backup"
    )


def _last_line(stream: Iterable[bytes]) -> tuple[bytes, int]:
    """The last line, and how many there are."""
    last, count = b"", 0
    for count, last in enumerate(stream, start=1):  # noqa: B007 - read behind the loop
        pass
    return last, count


def _write(stream: IO[bytes], line: Json) -> None:
    stream.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")


@contextmanager
def _whole(path: Path) -> Iterator[IO[bytes]]:
    """A stream into a file that gets its name when all of it is on disk."""
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
    """Whether a line is header or footer."""
    return "note" not in line and ("format" in line or "notes" in line)
