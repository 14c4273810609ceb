"""Readers of notes in files of text: JSON lines and CSV, both also as .gz. They never hold the whole file in memory."""

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from notellm.errors import NoteFileError
from notellm.note_files.cells import tidy
from notellm.note_files.columns import used_columns
from notellm.note_files.row import Row

# More than the longest valid note with every character escaped. The limit keeps a file without line breaks from filling the memory.
MAX_LINE_BYTES = 4 * 2**20
_HEAD_BYTES = 65_536
# What reading a damaged or shortened file raises. A damaged .gz raises zlib.error, which is no OSError.
_UNREADABLE = (OSError, EOFError, zlib.error)


def not_text(head: bytes) -> str | None:
    """Says what a file is, and what to do about it, if its first bytes are not those of UTF-8 text; otherwise None."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "is UTF-16: save it as UTF-8"
    if head.startswith(b"\x1f\x8b"):
        return "is gzipped: let its name end in .gz"
    if head.startswith(b"PAR1"):
        return "is a parquet file: let its name end in .parquet"
    if head.startswith(b"PK\x03\x04"):
        return "is a spreadsheet or a zip archive: save it as CSV, or unpack it"
    return None


def has_old_mac_lines(head: bytes) -> bool:
    """Whether the lines of a text end in a carriage return alone."""
    return b"\r" in head and b"\n" not in head


class _TextFile:
    """Base of JSON lines and CSV: opens the file, gzipped or not, and knows how much of it has been read.

    Raises:
        OSError: the file cannot be opened.
        NoteFileError: it is not text, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._raw = path.open("rb")
        self._size = max(path.stat().st_size, 1)
        self.stream: IO[bytes] = cast("IO[bytes]", gzip.GzipFile(fileobj=self._raw)) if path.suffix == ".gz" else self._raw
        try:
            head = self.stream.read(_HEAD_BYTES)
            self.stream.seek(0)
        except _UNREADABLE as error:
            self.close()
            raise NoteFileError(path, f"cannot be read: {error}") from error
        if problem := not_text(head):
            self.close()
            raise NoteFileError(path, problem)
        if has_old_mac_lines(head):
            self.stream = io.BufferedReader(_UnixLines(self.stream))  # type: ignore[type-var] # see readinto

    def fraction(self) -> float:
        """See `RowFile.fraction`."""
        return self._raw.tell() / self._size

    def close(self) -> None:
        """See `RowFile.close`."""
        self.stream.close()
        self._raw.close()

    def broken(self, error: BaseException) -> NoteFileError:
        """The error of a file whose rest cannot be read."""
        return NoteFileError(self.path, f"cannot be read to its end: {error}")


class _UnixLines(io.RawIOBase):
    """A stream of text whose lines end in carriage returns, with line feeds instead."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override] # io.RawIOBase's stub takes any buffer
        data = self._stream.read(len(buffer)).replace(b"\r", b"\n")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


class JsonLines(_TextFile):
    """One JSON object per line. Skips empty lines and a byte order mark at the start of the file."""

    def __iter__(self) -> Iterator[Row]:
        """See `RowFile`."""
        for number, (line, whole) in enumerate(self._lines(), start=1):
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)  # noqa: PLW2901
            if not whole:
                yield Row(number, line[:1000], f"the line has more than {MAX_LINE_BYTES:,} bytes", number)
            elif line.strip():
                yield Row(number, line, line=number)

    def _lines(self) -> Iterator[tuple[bytes, bool]]:
        """Yields each line and whether it is complete. A line over `MAX_LINE_BYTES` is cut: only its beginning is kept."""
        try:
            while line := self.stream.readline(MAX_LINE_BYTES):
                whole = tail = line
                while len(tail) == MAX_LINE_BYTES and not tail.endswith(b"\n"):
                    tail = self.stream.readline(MAX_LINE_BYTES)
                yield line, whole is tail
        except _UNREADABLE as error:
            raise self.broken(error) from error


class CsvFile(_TextFile):
    """A table with a header. Hashtags are a JSON list or names separated by `|`. An empty cell means that the field is absent.

    Skips rows in which every cell is empty, and ignores empty cells after the last column: spreadsheets write both.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        csv.field_size_limit(MAX_LINE_BYTES)
        # Bytes that are not UTF-8 become surrogates, which a note may not contain. So only that row is rejected, not the whole file.
        text = io.TextIOWrapper(self.stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
        self._reader = csv.reader(text, strict=True)
        try:
            self._names = used_columns(path, next(filter(any, self._reader), []))
        except csv.Error as error:
            self.close()
            raise NoteFileError(path, f"is not a readable CSV file: line {self._reader.line_num}: {error}") from error
        except NoteFileError:
            self.close()
            raise

    def __iter__(self) -> Iterator[Row]:
        """See `RowFile`."""
        number = 0
        while True:
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                number += 1
                yield Row(number, {}, str(error), self._reader.line_num)
            except _UNREADABLE as error:
                raise self.broken(error) from error
            else:
                number += bool(cells)
                if any(cells):
                    yield self._row(number, cells)

    def _row(self, number: int, cells: list[str]) -> Row:
        named = {name: cell for name, cell in zip(self._names, cells, strict=False) if name is not None}
        problem = None
        if any(cells[len(self._names) :]):
            problem = f"has {len(cells)} cells, and the header has {len(self._names)}: put text that contains commas into double quotes"
        return Row(number, tidy(named), problem, self._reader.line_num)
