"""`Batch`: rows that are sent together, and the rejected rows among them."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from pydantic import ValidationError

from notellm.note_files import Row
from service.settings import MIB

# Small enough that little work is lost when the command is killed, large enough to fill forward passes, and far below the limit
# of a request body.
MAX_ITEMS = 64
MAX_BYTES = MIB
MAX_REJECTS = 1000


class Item(Protocol):
    """The result of parsing a row."""

    @property
    def id(self) -> str:
        """The note's id."""
        ...


ItemT = TypeVar("ItemT", bound=Item)


@dataclass(frozen=True)
class Reject:
    """A rejected row and the reason."""

    row: Row
    reason: str

    def as_json(self) -> str:
        """Returns one line of JSON: the row's number, the reason, and the row's content as far as it is readable."""
        content = self.row.content
        if not isinstance(content, bytes):
            return self._line(note=content)
        try:
            return self._line(note=json.loads(content))
        except (ValueError, RecursionError):
            return self._line(text=content.decode("utf-8", "backslashreplace").rstrip("\n"))

    def _line(self, **content: object) -> str:
        return json.dumps({"row": self.row.number, "reason": self.reason, **content}, default=str)


@dataclass
class Batch(Generic[ItemT]):
    """Consecutive rows up to `last_row`. Each note id occurs at most once.

    Attributes:
        last_row: number of the last row.
        items: the parsed rows.
        rejects: the rows that could not be parsed.
        ids: the note ids of the items.
        size: bytes or characters of the items.
    """

    last_row: int = 0
    items: list[tuple[Row, ItemT]] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    size: int = 0

    @property
    def full(self) -> bool:
        """Whether the batch is large enough to be sent."""
        return len(self.items) >= MAX_ITEMS or self.size >= MAX_BYTES or len(self.rejects) >= MAX_REJECTS

    def add(self, row: Row, item: ItemT) -> None:
        """Adds a parsed row."""
        self.items.append((row, item))
        self.ids.add(item.id)
        self.size += (
            len(row.content) if isinstance(row.content, bytes) else sum(len(str(cell)) for cell in row.content.values())
        )


def batches(rows: Iterable[Row], parse: Callable[[Row], ItemT | None]) -> Iterator[Batch[ItemT]]:
    """Groups rows into batches, in order. `parse` returns None for rows to skip and raises `ValueError` for bad ones."""
    batch: Batch[ItemT] = Batch()
    for row in rows:
        item = _parsed(row, parse)
        if isinstance(item, Reject):
            batch.rejects.append(item)
        elif item is not None:
            if item.id in batch.ids:  # of two rows with the same id, the later one must be stored last
                yield batch
                batch = Batch(batch.last_row)
            batch.add(row, item)
        batch.last_row = row.number
        if batch.full:
            yield batch
            batch = Batch(batch.last_row)
    if batch.items or batch.rejects:
        yield batch


def _parsed(row: Row, parse: Callable[[Row], ItemT | None]) -> ItemT | Reject | None:
    if row.problem is not None:
        return Reject(row, row.problem)
    try:
        return parse(row)
    except ValueError as error:
        return Reject(row, _reason(error))
    except RecursionError:
        return Reject(row, "is nested too deeply")


def _reason(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    details: list[Any] = list(error.errors(include_url=False, include_input=False))
    places = [".".join(map(str, detail["loc"])) for detail in details]
    messages = [detail["msg"].removeprefix("Value error, ") for detail in details]
    return "; ".join(
        f"{place}: {message}" if place else message for place, message in list(zip(places, messages, strict=True))[:3]
    )
