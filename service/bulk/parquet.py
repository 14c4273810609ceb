"""`ParquetFile`: rows of a parquet file, some at a time. Needs pyarrow, which the extra `parquet` installs."""

from collections.abc import Iterator
from pathlib import Path

from notellm.cells import tidy
from service.bulk.rows import Row, check_columns
from service.errors import CommandError

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as missing:
    raise CommandError("parquet files need pyarrow: pip install 'notellm[parquet]'") from missing

ROWS_AT_A_TIME = 1000


class ParquetFile:
    """See `RowFile`. Times with a zone are read in UTC, to the microsecond."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = pq.ParquetFile(path)
        except pa.ArrowException as error:
            raise CommandError(f"{path} is no readable parquet file: {error}") from error
        self._read = 0
        check_columns(path, self._file.schema_arrow.names)

    def __iter__(self) -> Iterator[Row]:
        """See `RowFile`."""
        try:
            for batch in self._file.iter_batches(ROWS_AT_A_TIME):
                for row in _in_utc(batch).to_pylist():
                    self._read += 1
                    yield Row(self._read, tidy(row))
        except (pa.ArrowException, OSError) as error:
            raise CommandError(
                f"{self.path} cannot be read after row {self._read:,}: {error}. What came before is stored"
            ) from error

    def fraction(self) -> float:
        """See `RowFile.fraction`."""
        rows: int = self._file.metadata.num_rows
        return self._read / max(rows, 1)

    def close(self) -> None:
        """See `RowFile.close`."""
        self._file.close()


def _in_utc(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Times as Python's datetime has them: it knows no nanoseconds, and not every zone that Arrow knows."""
    fields = [
        pa.field(field.name, pa.timestamp("us", tz="UTC" if field.type.tz else None))
        if pa.types.is_timestamp(field.type)
        else field
        for field in batch.schema
    ]
    return batch.cast(pa.schema(fields), safe=False)
