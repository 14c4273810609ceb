"""A row of a file becomes a note, or says what is wrong with it."""

import pytest

from notellm.note import Note
from notellm.note_files import Row, read_note


def test_nulls_are_absent_fields() -> None:
    content = b'{"id": "a1", "title": "t", "content": null, "hashtags": null, "version": null}'
    assert read_note(Row(1, content)) == Note(id="a1", title="t")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (Row(1, {}, "cannot be decoded"), "cannot be decoded"),
        (Row(1, b"{broken"), "Invalid JSON: key must be a string at column 2"),
        (Row(1, b"[1]"), "valid dictionary or instance of Note"),
        (Row(1, b"[" * 100_000), "Invalid JSON: recursion limit exceeded"),
        (Row(1, b'{"id": "a1", "title": NaN}'), "title"),
        (Row(1, b'{"id": "a1", "title": "t", "colour": "red"}'), "colour"),
        (Row(1, b'{"id": "a1", "title": "\xff"}'), "Invalid JSON"),
        (Row(1, {"id": "a1"}), "a note needs a title"),
    ],
)
def test_bad_rows(row: Row, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_note(row)


def test_places() -> None:
    assert (Row(3, b"").place, Row(3, b"", line=7).place) == ("row 3", "line 7")
