"""`Row`: one row of a file of notes, and `RowFile`: the interface of the readers of such files."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from notellm.note import Note
from service.errors import CommandError


@dataclass(frozen=True)
class Row:
    """A row of a file of notes.

    Attributes:
        number: counts from 1; the header of a CSV file does not count.
        content: JSON text, or the cells by column name.
        problem: why the row cannot be read, or None.
    """

    number: int
    content: bytes | dict[str, Any]
    problem: str | None = None


class RowFile(Protocol):
    """An open file of notes."""

    def __iter__(self) -> Iterator[Row]:
        """Yields the rows in order.

        Raises:
            CommandError: the rest of the file cannot be read.
        """
        ...

    def fraction(self) -> float:
        """Returns the part of the file that has been read, from 0 to 1."""
        ...

    def close(self) -> None:
        """Closes the file."""
        ...


def check_columns(path: Path, columns: Iterable[str]) -> None:
    """Checks that the rows of a table can be notes.

    Raises:
        CommandError: a column is not a field of a note, or there is no column `id`.
    """
    unknown = [name for name in columns if name not in Note.model_fields]
    if unknown or "id" not in columns:
        wrong = f"has columns that are not fields of a note: {', '.join(unknown[:5])}" if unknown else "has no column id"
        raise CommandError(f"{path} {wrong}. The columns may be {', '.join(Note.model_fields)}; id is required")
