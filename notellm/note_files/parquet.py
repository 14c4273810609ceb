"""`ParquetFile`: reads a parquet file in portions. Needs pyarrow, which the extra `parquet` installs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from notellm.errors import NoteFileError
from notellm.note_files.cells import tidy
from notellm.note_files.columns import used_columns
from notellm.note_files.row import Row

try:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
except ImportError as missing:
    raise NoteFileError(Path("a parquet file"), "needs pyarrow: pip install 'notellm[parquet]'") from missing

ROWS_AT_A_TIME = 1000
# What a value raises that Python cannot hold.
_UNREADABLE = (pa.ArrowException, ValueError, OverflowError)


class ParquetFile:
    """See `RowFile`. Times with a time zone are converted to UTC and cut to microseconds. Only the fields of a note are read.

    Raises:
        NoteFileError: the file is damaged or not a table of notes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream = path.open("rb")  # a path as text could be taken for an address or a pattern
        try:
            self._file = pq.ParquetFile(self._stream)
            names = used_columns(path, self._file.schema_arrow.names)
        except (pa.ArrowException, OSError) as error:
            self._stream.close()
            raise NoteFileError(path, f"is not a readable parquet file: {error}") from error
        except NoteFileError:
            self._stream.close()
            raise
        self._names = [name for name in names if name is not None]
        self._read = 0

    def __iter__(self) -> Iterator[Row]:
        """See `RowFile`."""
        try:
            for batch in self._file.iter_batches(ROWS_AT_A_TIME, columns=self._names):
                for cells, problem in _cells_of(batch):
                    self._read += 1
                    yield Row(self._read, tidy(cells), problem)
        except (pa.ArrowException, OSError) as error:
            raise NoteFileError(self.path, f"cannot be read after row {self._read:,}: {error}") from error

    def fraction(self) -> float:
        """See `RowFile.fraction`."""
        rows: int = self._file.metadata.num_rows
        return self._read / max(rows, 1)

    def close(self) -> None:
        """See `RowFile.close`."""
        self._file.close()
        self._stream.close()


def _cells_of(batch: pa.RecordBatch) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Yields each row's cells and its problem, or None.

    A value that Python cannot hold, such as a time in the year 33658 or text that is not UTF-8, is a problem of its row only.
    """
    try:
        rows = _plain(batch).to_pylist()
    except _UNREADABLE:
        yield from (_row(batch.slice(place, 1)) for place in range(batch.num_rows))
    else:
        yield from ((row, None) for row in rows)


def _row(row: pa.RecordBatch) -> tuple[dict[str, Any], str | None]:
    cells: dict[str, Any] = {}
    problems = []
    for name in row.schema.names:
        try:
            cells |= _plain(row.select([name])).to_pylist()[0]
        except _UNREADABLE as error:
            problems.append(f"{name}: cannot be read: {error}")
    return cells, "; ".join(problems) or None


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Converts columns that Python's types cannot hold: categories of pandas, and times with nanoseconds or rare time zones.

    Raises:
        ArrowInvalid: a time is out of range. Without this check it would silently become another time.
    """
    return pa.RecordBatch.from_arrays([_plain_column(column) for column in batch.columns], names=batch.schema.names)


def _plain_column(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not pa.types.is_timestamp(column.type):
        return column
    kind = pa.timestamp("us", tz="UTC" if column.type.tz else None)
    return column.cast(options=pc.CastOptions(kind, allow_time_truncate=True))
