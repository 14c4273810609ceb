"""`used_columns`: which columns of a table are fields of a note."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from notellm.errors import NoteFileError
from notellm.note import Note

# Spreadsheets leave columns without a name at the end. pandas writes its index as a first column without a name, which becomes
# `Unnamed: 0` when the file is read and written again, and `__index_level_0__` in parquet.
_NOT_A_COLUMN = re.compile(r"(?:Unnamed: \d+|__index_level_\d+__)?")


def used_columns(path: Path, header: Sequence[str]) -> list[str | None]:
    """Returns the name of each column, or None if the column is ignored because it has no name of its own.

    Raises:
        NoteFileError: a column is not a field of a note or occurs twice, or there is no column `id`.
    """
    names = [None if _NOT_A_COLUMN.fullmatch(name.strip()) else name.strip() for name in header]
    named = [name for name in names if name is not None]
    unknown = [name for name in named if name not in Note.model_fields]
    if unknown or "id" not in named:
        raise NoteFileError(path, _wrong(unknown))
    if twice := sorted({name for name in named if named.count(name) > 1}):
        raise NoteFileError(path, f"has the column {twice[0]} twice: remove or rename one of them")
    return names


def _wrong(unknown: Sequence[str]) -> str:
    fields = ", ".join(Note.model_fields)
    if len(unknown) == 1 and (separator := next((mark for mark in ";\t|" if mark in unknown[0]), None)):
        return f"must have commas between its columns, not {separator!r}: save it with commas"
    if not unknown:
        return f"has no column id. The columns may be {fields}; id is required"
    shown = ", ".join(repr(name)[:60] for name in unknown[:5])
    close = get_close_matches(unknown[0].lower(), Note.model_fields, 1)
    meant = f" Did you mean {close[0]}?" if close else ""
    return f"has columns that are not fields of a note: {shown}.{meant} Rename or remove them. The columns may be {fields}; id is required"
