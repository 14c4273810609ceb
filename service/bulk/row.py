"""`Row`: one note of a file of notes, as it was read; and what every reader of such a file can do."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from notellm.note import Note
from service.errors import CommandError


@dataclass(frozen=True)
class Row:
    """A row of the file.

    Attributes:
        number: from 1; a CSV's header is none.
        content: JSON text, or the columns by name.
        problem: why it cannot be read, where it cannot.
    """

    number: int
    content: bytes | dict[str, Any]
    problem: str | None = None


class RowFile(Protocol):
    """An open file of notes."""

    def __iter__(self) -> Iterator[Row]:
        """The rows, in order.

        Raises:
            CommandError: the rest of the file cannot be read.
        """
        ...

    def fraction(self) -> float:
        """How much of the file has been read, 0 to 1."""
        ...

    def close(self) -> None:
        """Closes it."""
        ...


def check_columns(path: Path, columns: Iterable[str]) -> None:
    """Raises `CommandError` for a table of which no row could be a note."""
    unknown = [name for name in columns if name not in Note.model_fields]
    if unknown or "id" not in columns:
        wrong = f"has columns that no note has: {', '.join(unknown[:5])}" if unknown else "has no column id"
        raise CommandError(f"{path} {wrong}. Columns are {', '.join(Note.model_fields)}; id is required")
