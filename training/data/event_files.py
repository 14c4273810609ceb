"""`EventSource`: a file of events, of any kind, as a SELECT statement of DuckDB with the columns of an event.

A path is only a path: DuckDB would expand `*` and `?` in it, and read columns from folders that are named `key=value`. So it is given
the open file's name under /proc/self/fd.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from notellm.note_files import has_old_mac_lines, not_text
from training.errors import DataError

COLUMNS = ("user", "note", "time", "position", "event")
# More than the longest header of a CSV file.
_HEAD_BYTES = 1 << 20


@dataclass(frozen=True)
class EventSource:
    """What DuckDB reads.

    Attributes:
        table: a table function, with aliases of its columns.
        columns: SQL expression by name of those of `COLUMNS` that the file has.
        row: SQL expression of the row's number, from 1.
        held: names of all columns of the file, for messages.
        kept: SQL condition of rows that are not blank.
        readable: SQL condition of rows that can be read.
        named: whether the file names its columns once, and not in each row.
    """

    table: str
    columns: dict[str, str]
    held: Sequence[str]
    row: str = "row_number() over ()"
    kept: str = "true"
    readable: str = "true"
    named: bool = True


@contextmanager
def open_source(path: Path, *, careful: bool = False, scratch: Path) -> Iterator[EventSource]:
    """Opens a file of events. The source can be read until the context ends.

    Args:
        path: the file.
        careful: read it slowly, with one thread and a copy that has one kind of line ends; for files that cannot be read otherwise.
        scratch: an existing folder for such copies.

    Raises:
        DataError: the file is missing, of another kind, empty or damaged.
    """
    kind = next((part for part in reversed(path.suffixes) if part != ".gz"), "")
    if kind not in {".parquet", ".csv", ".jsonl"} or (kind == ".parquet" and path.suffix == ".gz"):
        raise DataError(f"{path}: events must be in a .parquet, .csv or .jsonl file (the last two also with .gz)")
    if path.is_dir():
        raise DataError(f"{path} is a folder: name one file. To read many files, put them together first")
    if not path.is_file():
        raise DataError(f"{path} is missing")
    if not path.stat().st_size:
        raise DataError(f"{path} is empty")
    try:
        with path.open("rb") as file:
            if kind == ".parquet":
                yield _parquet(path, file)
                return
            head, zipped = _head(path), path.suffix == ".gz"
            if careful or has_old_mac_lines(head) or (kind == ".jsonl" and head.startswith(b"\xef\xbb\xbf")):
                with _plain_copy(path, scratch) as copy:
                    yield (
                        _csv(path, copy, head, zipped=False, careful=careful)
                        if kind == ".csv"
                        else _json(copy, head, zipped=False)
                    )
            else:
                yield (
                    _csv(path, file, head, zipped=zipped, careful=False) if kind == ".csv" else _json(file, head, zipped=zipped)
                )
    except (OSError, EOFError, zlib.error, csv.Error, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _head(path: Path) -> bytes:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if problem := not_text(head):
        raise DataError(f"{path} {problem}")
    return head


@contextmanager
def _plain_copy(path: Path, scratch: Path) -> Iterator[IO[bytes]]:
    """Yields a copy that is not gzipped and has no byte order mark. All line ends are line feeds, also in quoted cells."""
    copy = scratch / "events-copy"
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream, copy.open("wb+") as target:
        text = io.TextIOWrapper(cast("IO[bytes]", stream), encoding="utf-8-sig", errors="surrogateescape", newline=None)
        while part := text.read(1 << 20):
            target.write(part.encode(errors="surrogateescape"))
        target.flush()
        yield target
    copy.unlink()


def _parquet(path: Path, file: IO[bytes]) -> EventSource:
    names = pq.read_schema(file).names
    # DuckDB takes `User` and `user` for one name, so that names are given by place. Old writers do not mark text as text.
    options, row = "hive_partitioning = false, binary_as_string = true", "row_number() over ()"
    aliases = _aliases(names)
    if "file_row_number" not in (name.lower() for name in names):  # exact with any number of threads
        options, row = f"{options}, file_row_number = true", f"column_{len(names)} + 1"
        aliases = _aliases([*names, "file_row_number"])
    table = f"read_parquet('{_name(file)}', {options}) as events({', '.join(aliases)})"
    return EventSource(table, _used(path, names, aliases), names, row=row)


def _csv(path: Path, file: IO[bytes], head: bytes, *, zipped: bool, careful: bool) -> EventSource:
    names, skipped = _header(head)
    aliases = _aliases(names)
    texts = ", ".join(f"{alias}: 'VARCHAR'" for alias in aliases)
    options = [
        "auto_detect = false", "header = true", f"skip = {skipped}", "delim = ','", "quote = '\"'", "escape = '\"'",
        # Spreadsheets leave out empty cells at the end of a row.
        "null_padding = true", f"parallel = {not careful}",
        "store_rejects = true", "rejects_limit = 0", "hive_partitioning = false", f"compression = '{'gzip' if zipped else 'none'}'",
        # All columns are text. With a type guessed from the first rows, a later row that breaks it would fail the whole file.
        f"columns = {{{texts}}}",
    ]  # fmt: skip
    table = f"read_csv('{_name(file)}', {', '.join(options)})"
    return EventSource(table, _used(path, names, aliases), names, kept=f"coalesce({', '.join([*aliases, 'null'])}) is not null")


def _json(file: IO[bytes], head: bytes, *, zipped: bool) -> EventSource:
    table = (
        f"read_json_objects('{_name(file)}', format = 'newline_delimited', ignore_errors = true, hive_partitioning = false, "
        f"compression = '{'gzip' if zipped else 'none'}')"
    )
    return EventSource(
        table,
        {name: f"json ->> '{name}'" for name in COLUMNS},
        COLUMNS,
        readable="coalesce(json_type(json) = 'OBJECT', false)",
        named=False,
    )


def _header(head: bytes) -> tuple[list[str], int]:
    """The names of the columns, and the number of lines before the header."""
    rows = csv.reader(io.StringIO(head.decode("utf-8-sig", "replace"), newline=""))
    before = 0
    for row in rows:
        if any(row):
            return [name.strip() for name in row], before
        before = rows.line_num
    return [], before


def _aliases(names: Sequence[str]) -> list[str]:
    return [f"column_{place}" for place in range(len(names))]


def _used(path: Path, names: Sequence[str], aliases: Sequence[str]) -> dict[str, str]:
    """SQL name by name of the columns that events have.

    Raises:
        DataError: the file has one of them twice.
    """
    if twice := next((name for name in COLUMNS if list(names).count(name) > 1), None):
        raise DataError(f"{path} has the column {twice} twice: remove or rename one of them")
    return {name: alias for name, alias in zip(names, aliases, strict=False) if name in COLUMNS}


def _name(file: IO[bytes]) -> str:
    return f"/proc/self/fd/{file.fileno()}"
