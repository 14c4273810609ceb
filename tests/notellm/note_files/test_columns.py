"""Which columns of a table are fields of a note."""

from pathlib import Path

import pytest

from notellm.errors import NoteFileError
from notellm.note_files.columns import used_columns

PATH = Path("notes.csv")


@pytest.mark.parametrize("name", ["", " ", "Unnamed: 0", "Unnamed: 12", "__index_level_0__", "__index_level_1__"])
def test_columns_without_a_name_of_their_own_are_ignored(name: str) -> None:
    assert used_columns(PATH, [name, "id", name, " title ", name]) == [None, "id", None, "title", None]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (["title"], "has no column id"),
        ([], "has no column id"),
        (["id", "title", "title"], "has the column title twice"),
        (["id", "Title"], "not fields of a note: 'Title'. Did you mean title"),
        (["id", "unnamed"], "not fields of a note: 'unnamed'"),
        (["id;title"], "must have commas"),
    ],
)
def test_other_columns_are_refused(header: list[str], message: str) -> None:
    with pytest.raises(NoteFileError, match=message):
        used_columns(PATH, header)
