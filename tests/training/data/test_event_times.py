"""Which numbers and texts are times of events, and what the others are."""

import duckdb
import pytest

from training.data.event_times import LATEST, ODD, UNREADABLE, moment_of, number_of, odd, time_problem


def ask(expression: str) -> object:
    return duckdb.execute(f"select {expression}").fetchall()[0][0]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (0, None), (1, None), (1767225600, None), (1767225600.25, None), (LATEST, None), (LATEST + 1, 1), (2024013108, None),
        (1767225600000, 1), (1767225600000000, 2), (1767225600000000000, 3), (20260131, 4), (19700101, 4), (20260132, None),
        (20261301, None), (20260131.5, None), (202601310830, 4), (202601312530, 1), (20260131083059, 4), (20260131086059, 2),
        (-5, None), (1e30, None),
    ],
)  # fmt: skip
def test_what_a_number_is(number: float, code: int | None) -> None:
    assert ask(odd(f"{number!r}::double")) == code


@pytest.mark.parametrize(
    ("value", "kind", "number", "moment"),
    [
        ("'12.5'", "VARCHAR", 12.5, None),
        ("'2026-01-31T08:00:00Z'", "VARCHAR", None, 1769846400),
        ("'2026-01-31 16:00:00+08'", "VARCHAR", None, 1769846400),
        ("'epoch'", "VARCHAR", None, None),
        ("'infinity'", "VARCHAR", float("inf"), None),
        ("'10:30'", "VARCHAR", None, None),
        ("5::utinyint", "UTINYINT", 5, None),
        ("5.5::decimal(9, 2)", "DECIMAL(9,2)", 5.5, None),
        ("timestamp_ns '2026-01-31 08:00:00'", "TIMESTAMP_NS", None, 1769846400),
        ("date '2026-01-31'", "DATE", None, 1769817600),
        ("true", "BOOLEAN", None, None),
        ("null", "INTEGER", None, None),
    ],
)
def test_how_a_value_is_read(value: str, kind: str, number: float | None, moment: float | None) -> None:
    duckdb.execute("set timezone = 'UTC'")
    assert ask(number_of(f"({value})", kind)) == number
    assert ask(moment_of(f"({value})", kind)) == moment


def test_each_code_has_a_text() -> None:
    assert [ask(time_problem(str(code))) for code in (*ODD, "null")] == [*ODD.values(), UNREADABLE]
