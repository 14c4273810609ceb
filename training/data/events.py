"""`EventLog`: the behaviour log as a DuckDB table. It may have hundreds of millions of rows, so they never become Python objects.

Columns of the file (parquet, csv or jsonl, also with .gz): `user`, `note`, optionally `event` (a type such as view or click), and
`time` (ISO 8601 or Unix seconds), or `position` (whole numbers, larger is later) if the log knows only the order.
"""

import csv
import gzip
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import duckdb

from training.errors import DataError

EXAMPLES = 3
_READERS = {
    "parquet": "read_parquet({path}, file_row_number = true)",
    "csv": "read_csv({path}, columns = {columns}, header = true, auto_detect = false, delim = ',', quote = '\"', escape = '\"')",
    "jsonl": "read_json({path}, columns = {columns}, format = 'newline_delimited')",
}
_LATEST = datetime(2200, 1, 1, tzinfo=UTC).timestamp()
# The first problem of each row; null if it has none.
_PROBLEM = """
case
    when coalesce(trim(user_id), '') = '' then 'no user'
    when coalesce(trim(note_id), '') = '' then 'no note'
    when moment is null then 'no readable time (1970 to 2200) or position'
    when known.id is null then 'unknown note'
end
"""


@dataclass(frozen=True)
class EventLog:
    """The events in the table `events` (user_id, note_id, event_type, moment) of a connection.

    Attributes:
        connection: the connection; it spills to disk above its memory limit.
        has_times: whether `moment` is seconds since 1970; otherwise it only orders each user's events.
        dropped: number of rows that were dropped, by reason.
    """

    connection: duckdb.DuckDBPyConnection
    has_times: bool
    dropped: dict[str, int] = field(default_factory=dict)

    def count(self) -> int:
        """The number of events."""
        return int(self.connection.execute("select count(*) from events").fetchall()[0][0])

    def users(self) -> int:
        """The number of users."""
        return int(self.connection.execute("select count(distinct user_id) from events").fetchall()[0][0])

    def exposure(self) -> dict[str, int]:
        """Number of interactions by note id."""
        return dict(self.connection.execute("select note_id, count(*) from events group by all order by all").fetchall())

    def period(self) -> tuple[datetime, datetime] | None:
        """The times of the first and the last event; None if the log has no times."""
        if not self.has_times:
            return None
        first, last = self.connection.execute("select min(moment), max(moment) from events").fetchall()[0]
        return datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(last, UTC)

    def first_seen(self) -> dict[str, float]:
        """Time of each note's first event, in seconds since 1970."""
        return dict(self.connection.execute("select note_id, min(moment) from events group by note_id").fetchall())

    def fingerprint(self) -> str:
        """Sixteen hex digits that depend on every event but not on their order."""
        total = self.connection.execute(
            "select printf('%016x', bit_xor(hash(user_id, note_id, event_type, moment))) from events"
        )
        return str(total.fetchall()[0][0])


def open_events(
    path: Path, notes: Iterable[str], *, drop_invalid: bool = False, memory_limit: str = "3GB", scratch: Path | None = None
) -> EventLog:
    """Reads and checks a log.

    Args:
        path: the file.
        notes: ids of the known notes; events of other notes are invalid.
        drop_invalid: drop and count invalid rows instead of refusing the log.
        memory_limit: above this, DuckDB works on disk.
        scratch: where it works on disk; None for the system's folder for temporary files.

    Raises:
        DataError: the file cannot be read, or has invalid rows; the message names them.
    """
    # Each process gets its own folder, because the processes of a run read the same log at the same time. DuckDB makes and removes it.
    spill = (scratch or Path(tempfile.gettempdir())) / f"notellm-events-{uuid4().hex}"
    connection = duckdb.connect(config={"memory_limit": memory_limit, "temp_directory": str(spill)})
    connection.execute(f"set enable_progress_bar = {sys.stdout.isatty()}")
    try:
        columns = _read(connection, path)
    except duckdb.Error as error:
        raise DataError(f"{path} cannot be read: {_reason(error)}") from error
    has_times = _normalize(connection, path, columns)
    connection.execute("set preserve_insertion_order = false")  # the row numbers are stored by now
    connection.execute("create temp table known (id varchar)")
    connection.execute("insert into known select unnest(?::varchar[])", [list(notes)])
    dropped = _problems(connection, path, drop_invalid=drop_invalid)
    kept = f"select user_id, note_id, event_type, moment from normal left join known on note_id = known.id where {_PROBLEM} is null"  # noqa: S608
    connection.execute(f"create temp table events as {kept}")
    connection.execute("drop table normal")
    log = EventLog(connection, has_times, dropped)
    if not log.count():
        raise DataError(f"{path} contains no usable event: {sum(dropped.values()):,} rows were dropped and none is left")
    return log


def _read(connection: duckdb.DuckDBPyConnection, path: Path) -> set[str]:
    kind = next((part for part in reversed(path.suffixes) if part != ".gz"), "").lstrip(".")
    if kind not in _READERS:
        raise DataError(f"{path}: events must be in a .parquet, .csv or .jsonl file (also with .gz)")
    if not path.is_file():
        raise DataError(f"{path} is missing")
    if not path.stat().st_size:
        raise DataError(f"{path} is empty")
    columns = _csv_header(path) if kind == "csv" else _json_keys(connection, path) if kind == "jsonl" else []
    # Read all columns as text. With a type guessed from the first rows, a later row that breaks it would fail the whole file
    # instead of being counted as invalid.
    texts = "{" + ", ".join(f"{_quoted(name)}: 'VARCHAR'" for name in columns) + "}"
    connection.execute(f"create view raw as select * from {_READERS[kind].format(path=_quoted(path), columns=texts)}")  # noqa: S608
    return {str(row[0]) for row in connection.execute("describe raw").fetchall()}


def _csv_header(path: Path) -> list[str]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            first = stream.readline().decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    return next(csv.reader([first]), [])


def _json_keys(connection: duckdb.DuckDBPyConnection, path: Path) -> list[str]:
    described = connection.execute(
        f"describe select * from read_json({_quoted(path)}, format = 'newline_delimited')"  # noqa: S608
    ).fetchall()
    return sorted({"event"} | {str(row[0]) for row in described})  # an event type may come late in the file


def _quoted(text: object) -> str:
    return "'" + str(text).replace("'", "''") + "'"


def _reason(error: duckdb.Error) -> str:
    """The first lines of the message. Advice on DuckDB's own options follows them."""
    return "; ".join(line for line in str(error).splitlines()[:3] if line)


def _normalize(connection: duckdb.DuckDBPyConnection, path: Path, columns: set[str]) -> bool:
    """Makes the table `normal` (row, user_id, note_id, event_type, moment), and returns whether the log has times."""
    missing = [name for name in ("user", "note") if name not in columns]
    if missing or not columns & {"time", "position"}:
        wanted = ", ".join([*missing, *([] if columns & {"time", "position"} else ["time or position"])])
        raise DataError(f"{path} lacks the column {wanted}: it has {', '.join(sorted(columns - {'file_row_number'}))}")
    has_times = "time" in columns
    row = "file_row_number + 1" if "file_row_number" in columns else "row_number() over ()"
    seconds = "coalesce(try_cast(time as double), epoch(try_cast(time as timestamptz)))"
    number = seconds if has_times else "try_cast(position as double)"
    at = f"case when {number} between {f'0 and {_LATEST}' if has_times else '-1e18 and 1e18'} then {number} end"
    event = '"event"::varchar' if "event" in columns else "null::varchar"
    connection.execute("set timezone = 'UTC'")
    try:
        connection.execute(
            f'create temp table normal as select {row} as row, "user"::varchar as user_id, note::varchar as note_id, '  # noqa: S608
            f"{event} as event_type, {at} as moment from raw"
        )
    except duckdb.Error as error:
        raise DataError(f"{path} cannot be read: {_reason(error)}") from error
    return has_times


def _problems(connection: duckdb.DuckDBPyConnection, path: Path, *, drop_invalid: bool) -> dict[str, int]:
    rows = connection.execute(
        f"select {_PROBLEM} as problem, count(*), min(row), arg_min(coalesce(note_id, ''), row) "  # noqa: S608
        "from normal left join known on note_id = known.id where problem is not null group by problem order by problem"
    ).fetchall()
    counts = {problem: int(count) for problem, count, _, _ in rows}
    if counts and not drop_invalid:
        first = "; ".join(
            f"{problem} in {count:,} rows, first in row {row} (note {note!r})" for problem, count, row, note in rows
        )
        raise DataError(f"{path}: {first}. Fix them, or drop them with --drop-invalid")
    return counts
