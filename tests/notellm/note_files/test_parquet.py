"""Parquet files as tools write them: every type that can hold a field is read."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest

from notellm.note_files import read_note
from tests.notellm.note_files.files import A, B, notes, parquet, read

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
IDS = pa.array(["a1", "a2"])
TITLES = pa.array(["Cold brew", "Espresso"])
COLUMNS: dict[str, tuple[str, pa.Array, list[Any]]] = {
    "dictionary": ("category", pa.array(["tea", "tea"]).dictionary_encode(), ["tea", "tea"]),
    "large text": ("category", pa.array(["tea", None], pa.large_string()), ["tea", None]),
    "text view": ("content", pa.array(["x", "y"]).cast(pa.string_view()), ["x", "y"]),
    "bytes": ("category", pa.array([b"tea", "茶".encode()]), ["tea", "茶"]),
    "numbers as categories": ("category", pa.array([3, None], pa.int16()), ["3", None]),
    "a database's numbers": ("category", pa.array([Decimal(7), Decimal(8)], pa.decimal128(38, 0)), ["7", "8"]),
    "nulls alone": ("category", pa.nulls(2), [None, None]),
    "lists": ("hashtags", pa.array([["x", "y"], []]), [("x", "y"), None]),
    "large lists": ("hashtags", pa.array([["x"], None], pa.large_list(pa.large_string())), [("x",), None]),
    "lists of a dictionary": (
        "hashtags",
        pa.array([["x"], ["y"]], pa.list_(pa.dictionary(pa.int32(), pa.string()))),
        [("x",), ("y",)],
    ),
    "lists of one length": ("hashtags", pa.array([["x"], ["y"]], pa.list_(pa.string(), 1)), [("x",), ("y",)]),
    "lists as JSON": ("hashtags", pa.array(['["x", "y z"]', "x|y z"]), [("x", "y z"), ("x", "y z")]),
    "nanoseconds in UTC": ("created_at", pa.array([NOON, None], pa.timestamp("ns", "UTC")), [NOON, None]),
    "nanoseconds elsewhere": ("created_at", pa.array([NOON, None], pa.timestamp("ns", "Asia/Shanghai")), [NOON, None]),
    "nanoseconds, fixed offset": ("created_at", pa.array([NOON, None], pa.timestamp("ns", "+08:00")), [NOON, None]),
    "milliseconds": ("created_at", pa.array([NOON, None], pa.timestamp("ms", "UTC")), [NOON, None]),
    "seconds": ("created_at", pa.array([NOON, None], pa.timestamp("s", "UTC")), [NOON, None]),
    "a dictionary of times": (
        "created_at",
        pa.array([NOON, NOON], pa.timestamp("ns", "UTC")).dictionary_encode(),
        [NOON, NOON],
    ),
    "times as text": ("created_at", pa.array(["2026-01-31T12:00:00Z", None]), [NOON, None]),
    "versions with gaps": ("version", pa.array([3.0, float("nan")]), [3, None]),
    "nullable versions": ("version", pa.array([3, None], pa.uint32()), [3, None]),
    "a database's versions": ("version", pa.array([Decimal(3), None], pa.decimal128(20, 2)), [3, None]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_of_parquet(name: str, tmp_path: Path) -> None:
    field, column, expected = COLUMNS[name]
    found = notes(parquet(tmp_path / "notes.parquet", {"id": IDS, "title": TITLES, field: column}))
    assert [note.get(field) for note in found] == expected


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([7, 8]), ["7", "8"]),
        (pa.array([Decimal(7), Decimal(8)], pa.decimal128(38, 0)), ["7", "8"]),
        (pa.array(["7", "8"]).dictionary_encode(), ["7", "8"]),
        (pa.array([UUID(int=7).bytes, UUID(int=8).bytes], pa.uuid()), [str(UUID(int=7)), str(UUID(int=8))]),
    ],
    ids=["numbers", "a database's numbers", "dictionary", "uuid"],
)
def test_ids_of_parquet(column: pa.Array, expected: list[str], tmp_path: Path) -> None:
    assert [note["id"] for note in notes(parquet(tmp_path / "notes.parquet", {"id": column, "title": TITLES}))] == expected


def test_the_index_of_pandas_in_parquet_is_ignored(tmp_path: Path) -> None:
    table = pa.table([IDS, TITLES, pa.array([5, 9]), pa.array([1, 2])], ["id", "title", "__index_level_0__", ""])
    assert notes(parquet(tmp_path / "notes.parquet", table)) == [A, B]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([datetime(2026, 1, 1), None]), "timezone"),  # noqa: DTZ001 -- what is tested
        (pa.array([date(2026, 1, 1), None]), "timezone"),
        (pa.array([1769860800, None]), "ISO 8601"),
        (pa.array([1769860800.5, None]), "ISO 8601"),
        (pa.array(["20260131", None]), "ISO 8601"),
    ],
    ids=["no zone", "date", "integer", "float", "compact date"],
)
def test_times_that_are_refused(column: pa.Array, message: str, tmp_path: Path) -> None:
    first, second = read(parquet(tmp_path / "notes.parquet", {"id": IDS, "title": TITLES, "created_at": column}))
    with pytest.raises(ValueError, match=message):
        read_note(first)
    assert read_note(second).id == "a2"
