"""`RowFile`: a file of notes, row by row. JSON lines, CSV (both also .gz) and parquet; never the whole file in memory."""

import codecs
import csv
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from notellm.table_rows import tidy
from service.bulk.row import Row, RowFile, check_columns
from service.errors import CommandError

# Above every valid note, with each character escaped: a file without line ends must not fill the memory.
MAX_LINE_BYTES = 4 * 2**20


def open_rows(path: Path) -> RowFile:
    """Opens a file by its name: `.jsonl`, `.csv` (`.gz` too) or `.parquet`.

    Raises:
        CommandError: it is not such a file, cannot be read, or has columns that no note has.
    """
    kind = next((part for part in reversed(path.suffixes) if part != ".gz"), "")
    if kind not in {".jsonl", ".csv", ".parquet"}:
        raise CommandError(f"{path}: notes are read from .jsonl, .csv (.gz too) and .parquet files, not from this")
    try:
        if kind == ".parquet":
            from service.bulk.parquet import ParquetFile

            return ParquetFile(path)
        return JsonLines(path) if kind == ".jsonl" else CsvFile(path)
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error}") from error


class _TextFile:
    """What JSON lines and CSV share: bytes, perhaps gzipped, and how many of them are read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._raw = path.open("rb")
        self._size = max(path.stat().st_size, 1)
        self.stream: IO[bytes] = cast("IO[bytes]", gzip.GzipFile(fileobj=self._raw)) if path.suffix == ".gz" else self._raw

    def fraction(self) -> float:
        """See `RowFile.fraction`."""
        return self._raw.tell() / self._size

    def close(self) -> None:
        """See `RowFile.close`."""
        self.stream.close()
        self._raw.close()

    def lines(self) -> Iterator[tuple[bytes, bool]]:
        """The lines, and whether each is whole: of a longer one than any note only the beginning is kept."""
        try:
            while line := self.stream.readline(MAX_LINE_BYTES):
                whole = tail = line
                while len(tail) == MAX_LINE_BYTES and not tail.endswith(b"\n"):
                    tail = self.stream.readline(MAX_LINE_BYTES)
                yield line, whole is tail
        except (OSError, EOFError) as error:
            raise CommandError(f"{self.path} cannot be read to its end: {error}. What came before is stored") from error


class JsonLines(_TextFile):
    """One JSON object a line; empty lines are no rows, and a byte order mark is no part of the first."""

    def __iter__(self) -> Iterator[Row]:
        """See `RowFile`."""
        for number, (line, whole) in enumerate(self.lines(), start=1):
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)  # noqa: PLW2901
            if not whole:
                yield Row(number, line[:1000], f"the line has more than {MAX_LINE_BYTES:,} bytes")
            elif line.strip():
                yield Row(number, line)


class CsvFile(_TextFile):
    """A table with a header. Hashtags are a JSON list or names separated by `|`; empty cells are absent fields."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        csv.field_size_limit(MAX_LINE_BYTES)
        # What is no UTF-8 becomes surrogates, which no note may have: that row is refused, and not the rest of the file.
        text = io.TextIOWrapper(self.stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
        self._reader = csv.DictReader(text, restkey="a cell without a column", strict=True)
        try:
            check_columns(path, self._reader.fieldnames or ())
        except csv.Error as error:
            self.close()
            raise CommandError(f"{path} is no readable CSV file: {error}") from error
        except CommandError:
            self.close()
            raise

    def __iter__(self) -> Iterator[Row]:
        """See `RowFile`."""
        number = 0
        while True:
            number += 1
            try:
                row = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Row(number, {}, f"near line {self._reader.line_num}: {error}")
            except (OSError, EOFError) as error:
                raise CommandError(f"{self.path} cannot be read to its end: {error}. What came before is stored") from error
            else:
                yield Row(number, tidy({str(name): value for name, value in row.items()}))
