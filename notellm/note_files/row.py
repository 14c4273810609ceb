"""`Row`: one row of a file of notes, and `RowFile`: the interface of the readers of such files."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic_core import from_json

from notellm.errors import NoteError
from notellm.note import Note


@dataclass(frozen=True)
class Row:
    """A row of a file of notes.

    Attributes:
        number: counts from 1; the header of a CSV file does not count.
        content: JSON text, or the cells by column name.
        problem: why the row cannot be read, or None.
        line: the line of the file in which the row ends; None if the file has no lines.
    """

    number: int
    content: bytes | dict[str, Any]
    problem: str | None = None
    line: int | None = None

    @property
    def place(self) -> str:
        """Where the row is: `line 7`, or `row 7` if the file has no lines."""
        return f"row {self.number}" if self.line is None else f"line {self.line}"


class RowFile(Protocol):
    """An open file of notes."""

    def __iter__(self) -> Iterator[Row]:
        """Yields the rows in order.

        Raises:
            NoteFileError: the rest of the file cannot be read.
        """
        ...

    def fraction(self) -> float:
        """Returns the part of the file that has been read, from 0 to 1."""
        ...

    def close(self) -> None:
        """Closes the file."""
        ...


def read_note(row: Row) -> Note:
    """Makes a note of a row. A field that is null is an absent field: tools write the gaps of a table in this way.

    Raises:
        ValueError: the row cannot be read, or breaks a rule of a note (pydantic's `ValidationError`, which is a `ValueError`).
    """
    if row.problem is not None:
        raise NoteError(row.problem)
    if isinstance(row.content, dict):
        return Note.model_validate(row.content)
    try:
        fields = from_json(row.content)
    except ValueError as error:
        raise NoteError(f"Invalid JSON: {str(error).replace(' line 1 ', ' ')}") from error
    if isinstance(fields, dict):
        fields = {name: value for name, value in fields.items() if value is not None}
    return Note.model_validate(fields)
