"""Readers of files of notes: JSON lines, CSV (both also as .gz) and parquet. They never hold the whole file in memory."""

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
from service.settings import MIB

# More than the longest valid note with every character escaped. The limit keeps a file without line breaks from filling the memory.
MAX_LINE_BYTES = 4 * MIB


def open_rows(path: Path) -> RowFile:
    """Opens a file of notes; its name says which kind it is: `.jsonl`, `.csv` (both also with `.gz`) or `.parquet`.

    Raises:
        CommandError: the file is of another kind, cannot be read, or has columns that are not fields of a note.
    """
    kind = next((part for part in reversed(path.suffixes) if part != ".gz"), "")
    if kind not in {".jsonl", ".csv", ".parquet"}:
        raise CommandError(f"{path} is not a file of notes: its name must end in .jsonl, .csv (both also with .gz) or .parquet")
    try:
        if kind == ".parquet":
            from service.bulk.parquet import ParquetFile

            return ParquetFile(path)
        return JsonLines(path) if kind == ".jsonl" else CsvFile(path)
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error}") from error


class _TextFile:
    """Base of JSON lines and CSV: reads lines of bytes, gzipped or not, and knows how much of the file has been read."""

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
        """Yields each line and whether it is complete. A line over `MAX_LINE_BYTES` is cut: only its beginning is kept."""
        try:
            while line := self.stream.readline(MAX_LINE_BYTES):
                whole = tail = line
                while len(tail) == MAX_LINE_BYTES and not tail.endswith(b"\n"):
                    tail = self.stream.readline(MAX_LINE_BYTES)
                yield line, whole is tail
        except (OSError, EOFError) as error:
            raise CommandError(f"{self.path} cannot be read to its end: {error}. The rows before that are stored") from error


class JsonLines(_TextFile):
    """One JSON object per line. Skips empty lines and a byte order mark at the start of the file."""

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
    """A table with a header. Hashtags are a JSON list or names separated by `|`. An empty cell means that the field is absent."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        csv.field_size_limit(MAX_LINE_BYTES)
        # Bytes that are not UTF-8 become surrogates, which a note may not contain. So only that row is rejected, not the whole file.
        text = io.TextIOWrapper(self.stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
        self._reader = csv.DictReader(text, restkey="a cell without a column", strict=True)
        try:
            check_columns(path, self._reader.fieldnames or ())
        except csv.Error as error:
            self.close()
            raise CommandError(f"{path} is not a readable CSV file: {error}") from error
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
                raise CommandError(
                    f"{self.path} cannot be read to its end: {error}. The rows before that are stored"
                ) from error
            else:
                yield Row(number, tidy({str(name): value for name, value in row.items()}))
