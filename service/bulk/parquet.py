"""`ParquetFile`: reads a parquet file in portions. Needs pyarrow, which the extra `parquet` installs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from notellm.table_rows import tidy
from service.bulk.row import Row, check_columns
from service.errors import CommandError

try:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
except ImportError as missing:
    raise CommandError("parquet files need pyarrow: pip install 'notellm[parquet]'") from missing

ROWS_AT_A_TIME = 1000


class ParquetFile:
    """See `RowFile`. Times with a time zone are converted to UTC and cut to microseconds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = pq.ParquetFile(path)
        except pa.ArrowException as error:
            raise CommandError(f"{path} is not a readable parquet file: {error}") from error
        self._read = 0
        check_columns(path, self._file.schema_arrow.names)

    def __iter__(self) -> Iterator[Row]:
        """See `RowFile`."""
        try:
            for batch in self._file.iter_batches(ROWS_AT_A_TIME):
                for cells, problem in _rows(batch):
                    self._read += 1
                    yield Row(self._read, tidy(cells), problem)
        except (pa.ArrowException, OSError) as error:
            raise CommandError(
                f"{self.path} cannot be read after row {self._read:,}: {error}. The rows before that are stored"
            ) from error

    def fraction(self) -> float:
        """See `RowFile.fraction`."""
        rows: int = self._file.metadata.num_rows
        return self._read / max(rows, 1)

    def close(self) -> None:
        """See `RowFile.close`."""
        self._file.close()


def _rows(batch: pa.RecordBatch) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Yields each row's cells and its problem, or None.

    A value that Python cannot hold, such as a time in the year 33658 or text that is not UTF-8, is a problem of its row only.
    """
    try:
        rows = _in_utc(batch).to_pylist()
    except (pa.ArrowException, ValueError, OverflowError):
        yield from (_row(batch.slice(place, 1)) for place in range(batch.num_rows))
    else:
        yield from ((row, None) for row in rows)


def _row(row: pa.RecordBatch) -> tuple[dict[str, Any], str | None]:
    cells: dict[str, Any] = {}
    problems = []
    for name in row.schema.names:
        try:
            cells |= _in_utc(row.select([name])).to_pylist()[0]
        except (pa.ArrowException, ValueError, OverflowError) as error:
            problems.append(f"{name}: cannot be read: {error}")
    return cells, "; ".join(problems) or None


def _in_utc(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Converts times for Python's datetime, which has no nanoseconds and does not know every time zone of Arrow.

    Raises:
        ArrowInvalid: a time is out of range. Without this check it would silently become another time.
    """
    columns = [
        column.cast(options=pc.CastOptions(pa.timestamp("us", tz="UTC" if column.type.tz else None), allow_time_truncate=True))
        if pa.types.is_timestamp(column.type)
        else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
