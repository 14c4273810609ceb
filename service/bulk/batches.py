"""`Batch`: rows that are sent together, and what was wrong with others between them."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from pydantic import ValidationError

from service.bulk.row import Row

# Small enough that a kill costs little, large enough to fill forward passes; and far below the limit of a request's body.
MAX_ITEMS = 64
MAX_BYTES = 2**20
MAX_REJECTS = 1000


class Item(Protocol):
    """What is made of a row."""

    @property
    def id(self) -> str:
        """The note's id."""
        ...


ItemT = TypeVar("ItemT", bound=Item)


@dataclass(frozen=True)
class Reject:
    """A row that is not stored, and why."""

    row: Row
    reason: str

    def as_json(self) -> str:
        """One line: number of the row, reason, and the row as far as it can be read."""
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
    """Rows up to `last_row` that follow those of the batch before. No id stands twice."""

    last_row: int = 0
    items: list[tuple[Row, ItemT]] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    size: int = 0

    @property
    def full(self) -> bool:
        """Whether it is large enough to be sent."""
        return len(self.items) >= MAX_ITEMS or self.size >= MAX_BYTES or len(self.rejects) >= MAX_REJECTS

    def add(self, row: Row, item: ItemT) -> None:
        """Takes a row up."""
        self.items.append((row, item))
        self.ids.add(item.id)
        self.size += (
            len(row.content) if isinstance(row.content, bytes) else sum(len(str(cell)) for cell in row.content.values())
        )


def batches(rows: Iterable[Row], parse: Callable[[Row], ItemT | None]) -> Iterator[Batch[ItemT]]:
    """The rows in batches, in order. `parse` gives None for rows that are no notes and raises `ValueError` for bad ones."""
    batch: Batch[ItemT] = Batch()
    for row in rows:
        item = _parsed(row, parse)
        if isinstance(item, Reject):
            batch.rejects.append(item)
        elif item is not None:
            if item.id in batch.ids:  # the later row has to be stored later
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
