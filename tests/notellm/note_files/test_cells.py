"""Whatever stands in a cell, the rest of the file is read."""

from typing import Any

import pytest

from notellm.note_files.cells import tidy

DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("cell", "version"),
    [("7", 7), ("0", 0), ("1.0", 1), ("12.000", 12), ("007", 7), (3.0, 3), (str(2**53 - 1), 2**53 - 1)],
)
def test_versions_that_are_integers(cell: object, version: int) -> None:
    assert tidy({"id": "n1", "version": cell}) == {"id": "n1", "version": version}


@pytest.mark.parametrize("cell", ["²", "①", "9" * 5000, "1.5", "1.", "-1", "1e3", "x", 1.5, float("inf")])
def test_what_is_no_version_is_left_to_be_refused(cell: object) -> None:
    assert tidy({"id": "n1", "version": cell}) == {"id": "n1", "version": cell}


@pytest.mark.parametrize(
    ("cell", "hashtags"),
    [
        ("a|b", ["a", "b"]),
        ('["a", "b c"]', ["a", "b c"]),
        ("[a name]", ["[a name]"]),
        (DEEP + "]", [DEEP + "]"]),
        (f"[{'9' * 5000}]", [f"[{'9' * 5000}]"]),
    ],
)
def test_hashtags(cell: str, hashtags: list[Any]) -> None:
    assert tidy({"hashtags": cell}) == {"hashtags": hashtags}


def test_empty_cells_are_absent_fields() -> None:
    assert tidy({"title": "", "version": float("nan"), "category": None, "content": "x"}) == {"content": "x"}
