"""`EventLog`: the behaviour log as a DuckDB table. It may have hundreds of millions of rows, so they never become Python objects.

Columns of the file (parquet, csv or jsonl, also with .gz): `user`, `note`, optionally `event` (a type such as view or click), and
`time` (ISO 8601 or Unix seconds), or `position` (whole numbers, larger is later) if the log knows only the order.
"""

import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import duckdb

from training.data.event_files import COLUMNS, EventSource, open_source
from training.data.event_times import LATEST, moment_of, number_of, odd, time_problem
from training.errors import DataError

# The first problem of each row; null if it has none.
_PROBLEM = f"""
case
    when not readable then 'not a JSON object'
    when coalesce(trim(user_id), '') = '' then 'no user'
    when coalesce(trim(note_id), '') = '' then 'no note'
    when moment is null then {time_problem("odd")}
    when known.id is null then 'unknown note'
end
"""
# What DuckDB calls the rows of a CSV file that it cannot read.
_REJECTED = {
    "TOO MANY COLUMNS": "more cells than the header",
    "INVALID ENCODING": "text that is not UTF-8",
    "UNQUOTED VALUE": "a quotation mark that is not closed or not doubled",
    "LINE SIZE OVER MAXIMUM": "a line of more than 2 MB",
}
_JSON_ROWS_LOOKED_AT = 100_000


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
    connection.execute("set timezone = 'UTC'")
    has_times = _read(connection, path, scratch)
    rejected = _rejected(connection, path, drop_invalid=drop_invalid)
    connection.execute("set preserve_insertion_order = false")  # the row numbers are stored by now
    connection.execute("create temp table known (id varchar)")
    connection.execute("insert into known select unnest(?::varchar[])", [list(notes)])
    dropped = rejected | _problems(connection, path, drop_invalid=drop_invalid)
    kept = f"select user_id, note_id, event_type, moment from normal left join known on note_id = known.id where {_PROBLEM} is null"  # noqa: S608
    connection.execute(f"create temp table events as {kept}")
    connection.execute("drop table normal")
    log = EventLog(connection, has_times, dropped)
    if not log.count():
        raise DataError(f"{path} contains no usable event: {sum(dropped.values()):,} rows were dropped and none is left")
    return log


def _read(connection: duckdb.DuckDBPyConnection, path: Path, scratch: Path | None) -> bool:
    """Makes the table `normal` (row, readable, user_id, note_id, event_type, moment, odd), and returns whether the log has times.

    DuckDB's parallel reader does not take every file that a table may be saved as: mixed line ends, or missing cells beside quoted
    line breaks. What it refuses is read once more, carefully.
    """
    for careful in (False, True):
        try:
            with (
                tempfile.TemporaryDirectory(prefix="notellm-events-", dir=scratch) as copies,
                open_source(path, careful=careful, scratch=Path(copies)) as source,
            ):
                return _normalize(connection, path, source)
        except duckdb.Error as error:
            if careful:
                raise DataError(f"{path} cannot be read: {_reason(error)}") from error
            connection.execute("drop table if exists reject_errors; drop table if exists reject_scans")
    raise AssertionError("unreachable")


def _reason(error: duckdb.Error) -> str:
    """The first line of the message, without the kind of the error. What follows is about SQL."""
    first = str(error).splitlines()[0]
    return first.split("Error: ", 1)[-1]


def _normalize(connection: duckdb.DuckDBPyConnection, path: Path, source: EventSource) -> bool:
    columns = source.columns if source.named else _json_columns(connection, source)
    missing = [name for name in ("user", "note") if name not in columns]
    if missing or not columns.keys() & {"time", "position"}:
        wanted = ", ".join([*missing, *([] if columns.keys() & {"time", "position"} else ["time or position"])])
        held = source.held if source.named else _json_keys(connection, source)
        hint = ". Its columns must be separated by commas" if len(held) == 1 and {";", "\t"} & {*held[0]} else ""
        raise DataError(f"{path} lacks the column {wanted}: it has {', '.join(sorted(held)[:20]) or 'none'}{hint}")
    has_times = "time" in columns
    at = columns["time" if has_times else "position"]
    kind = connection.execute(f"select typeof({at}) from {source.table} limit 1").fetchone() or ("VARCHAR",)  # noqa: S608
    event = f"{columns['event']}::varchar" if "event" in columns else "null::varchar"
    if has_times:
        code, limits = odd("number"), f"0 and {LATEST}"
        moment = f"case when {code} is null then coalesce(number, {moment_of('stamp', kind[0])}) end"
    else:
        code, limits, moment = "null::utinyint", "-1e18 and 1e18", "number"
    texts = f"{columns['user']}::varchar as user_id, {columns['note']}::varchar as note_id, {event} as event_type"
    connection.execute(
        f"create or replace temp table normal as select row, readable, user_id, note_id, event_type, "  # noqa: S608
        f"case when {moment} between {limits} then {moment} end as moment, {code} as odd "
        f"from (select *, {number_of('stamp', kind[0])} as number from ("
        f"select {source.row} as row, {source.readable} as readable, {texts}, {at} as stamp from {source.table} where {source.kept}))"
    )
    return has_times


def _json_columns(connection: duckdb.DuckDBPyConnection, source: EventSource) -> dict[str, str]:
    """The columns of which some row has a value. A key may come late in the file, so that the whole file is read if one is missing."""
    counted = ", ".join(f"count({source.columns[name]})" for name in COLUMNS)
    for rows in (f"(select * from {source.table} limit {_JSON_ROWS_LOOKED_AT})", source.table):  # noqa: S608
        counts = dict(zip(COLUMNS, connection.execute(f"select {counted} from {rows}").fetchall()[0], strict=True))  # noqa: S608
        if all(counts[name] for name in ("user", "note", "time")):
            return {name: source.columns[name] for name in COLUMNS if counts[name] or name == "event"}
    return {name: source.columns[name] for name in COLUMNS if counts[name] or name == "event"}


def _json_keys(connection: duckdb.DuckDBPyConnection, source: EventSource) -> list[str]:
    keys = connection.execute(
        f"select distinct unnest(json_keys(json)) from (select json from {source.table} limit 100) where json_type(json) = 'OBJECT'"  # noqa: S608
    )
    return [str(row[0]) for row in keys.fetchall()]


def _rejected(connection: duckdb.DuckDBPyConnection, path: Path, *, drop_invalid: bool) -> dict[str, int]:
    """The number of rows that are no rows of a CSV file, by problem."""
    if not connection.execute("select 1 from duckdb_tables() where table_name = 'reject_errors'").fetchall():
        return {}
    rows = connection.execute(
        "select error_type::varchar, count(distinct line), min(line), "
        "bool_or(error_type = 'UNQUOTED VALUE' and trim(csv_line, chr(10) || chr(13)) like '%' || chr(10) || '%') "
        "from reject_errors group by 1 order by 1"
    ).fetchall()
    counts = {_REJECTED.get(kind, f"cannot be read ({kind.lower()})"): int(count) for kind, count, _, _ in rows}
    # Nobody knows where a row with an open quotation mark ends: the rows after it may be part of it.
    if rows and (not drop_invalid or any(swallows for *_, swallows in rows)):
        first = "; ".join(
            f"{problem} in {count:,} rows, first in line {row[2]}"
            for (problem, count), row in zip(counts.items(), rows, strict=True)
        )
        advice = (
            "Close or double the quotation mark"
            if any(swallows for *_, swallows in rows)
            else "Fix them, or drop them with --drop-invalid"
        )
        raise DataError(f"{path}: {first}. {advice}")
    return counts


def _problems(connection: duckdb.DuckDBPyConnection, path: Path, *, drop_invalid: bool) -> dict[str, int]:
    rows = connection.execute(
        f"select {_PROBLEM} as problem, count(*), min(row), arg_min(coalesce(note_id, ''), row) "  # noqa: S608
        "from normal left join known on note_id = known.id where problem is not null group by problem order by problem"
    ).fetchall()
    counts = {problem: int(count) for problem, count, _, _ in rows}
    if counts and not drop_invalid:
        first = "; ".join(
            f"{problem} in {count:,} rows, first in row {row}" + (f" (note {note!r})" if note else "")
            for problem, count, row, note in rows
        )
        raise DataError(f"{path}: {first}. Fix them, or drop them with --drop-invalid")
    return counts
