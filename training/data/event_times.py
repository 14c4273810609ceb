"""SQL that reads the times of events: ISO 8601, or seconds since 1970 ("Unix seconds").

A number that can only be something else is not taken for seconds: 1767225600000 are milliseconds, and 20260131 is a date.
"""

from datetime import UTC, datetime

LATEST = datetime(2200, 1, 1, tzinfo=UTC).timestamp()
# What a time is instead of seconds, by the code that stands for it in a table.
ODD = {
    1: "time in milliseconds (write Unix seconds or ISO 8601)",
    2: "time in microseconds (write Unix seconds or ISO 8601)",
    3: "time in nanoseconds (write Unix seconds or ISO 8601)",
    4: "time is a date without separators (write 2026-01-31)",
}
UNREADABLE = "no readable time (1970 to 2200) or position"
_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT",
            "FLOAT", "DOUBLE", "DECIMAL")  # fmt: skip


def number_of(column: str, kind: str) -> str:
    """SQL: the number in a column of DuckDB's type `kind`, or null."""
    if kind.startswith(_NUMBERS):
        return f"{column}::double"
    return "null::double" if kind.startswith(("TIMESTAMP", "DATE")) else f"try_cast({column}::varchar as double)"


def moment_of(column: str, kind: str) -> str:
    """SQL: the seconds since 1970 of a time that is not a number, or null. A time without a zone is UTC."""
    if kind.startswith(_NUMBERS):
        return "null::double"
    if not kind.startswith(("TIMESTAMP", "DATE")):
        # DuckDB also takes `epoch` and other words for times.
        column = f"case when regexp_matches({column}::varchar, '^\\s*[0-9]{{4}}[-/]') then {column}::varchar end"
    return f"epoch(try_cast({column} as timestamptz))"


def odd(number: str) -> str:
    """SQL: the code of what a number is instead of Unix seconds, or null."""
    dates = " or ".join(_is_date(number, digits) for digits in (8, 12, 14))
    limits = [
        f"when {number} > {LATEST * 1000 ** (code - 1)} and {number} <= {LATEST * 1000**code} then {code}" for code in (1, 2, 3)
    ]
    return f"(case when {dates} then 4 {' '.join(limits)} end)::utinyint"


def time_problem(code: str) -> str:
    """SQL: the name of the problem of a time that cannot be read."""
    cases = " ".join(f"when {number} then '{text}'" for number, text in ODD.items())
    return f"case {code} {cases} else '{UNREADABLE}' end"


def _is_date(number: str, digits: int) -> str:
    """SQL: whether a whole number reads as YYYYMMDD, YYYYMMDDhhmm or YYYYMMDDhhmmss. As another unit it would lie in the 1970s."""
    whole = f"try_cast({number} as bigint)"
    date = f"({whole} // {10 ** (digits - 8)})"
    parts = [f"{number} = {whole}", f"{date} between 19700101 and 21991231", f"({date} // 100) % 100 between 1 and 12",
             f"{date} % 100 between 1 and 31"]  # fmt: skip
    clock = [f"({whole} // {10 ** (digits - place)}) % 100 < {24 if place == 10 else 60}" for place in range(10, digits + 1, 2)]  # noqa: PLR2004
    return f"({' and '.join([*parts, *clock])})"
