"""Reads what a map shows from the index, page by page."""

import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from service.notes import IndexedNote, NoteArchive, Vector

MOST_NOTES = 100_000
"""Of a larger index the map shows a sample of this many notes."""
PAGE_NOTES = 256
MOST_TITLE = 120
"""Characters of a title: it has to fit beside a point."""


@dataclass(frozen=True)
class MapNote:
    """A point of the map.

    Attributes:
        id: the note's id.
        title: its title or, without one, the beginning of its text.
        category: "" if it has none.
        hashtags: its hashtags.
        vector: unit vector, (dimensions,).
    """

    id: str
    title: str
    category: str
    hashtags: tuple[str, ...]
    vector: Vector

    @classmethod
    def of(cls, note: IndexedNote, vector: Vector) -> "MapNote":
        """Takes from a stored note what the map shows."""
        text = " ".join((note.payload.get("title") or note.payload.get("content") or note.id).split())
        title = text if len(text) <= MOST_TITLE else f"{text[: MOST_TITLE - 1]}…"
        return cls(note.id, title, note.payload.get("category") or "", tuple(note.payload.get("hashtags") or ()), vector)


@dataclass
class MapNotes:
    """The notes of a map.

    Attributes:
        vector_name: names the model of the vectors.
        counted: how many notes the index said to hold, with a vector or without.
        total: how many of them had a vector.
        notes: all of them, or a sample.
    """

    vector_name: str
    counted: int = 0
    total: int = 0
    notes: list[MapNote] = field(default_factory=list)


async def read_notes(
    archive: NoteArchive, most: int = MOST_NOTES, report: Callable[[float], None] = lambda _: None
) -> MapNotes:
    """Reads all notes that have a vector, or an even sample of `most` of them (algorithm R, Vitter 1985; the same one each time).

    Args:
        archive: the index, with the vectors of the model that answers.
        most: how many notes to keep.
        report: called with the share that has been read.
    """
    read = MapNotes(archive.vector_name, await archive.count())
    expected, draw = max(read.counted, 1), random.Random(0)  # noqa: S311 - a sample, not a secret
    async for note in _notes(archive):
        if note.vector is None:  # a migration has not filled it in yet
            continue
        read.total += 1
        if len(read.notes) < most:
            read.notes.append(MapNote.of(note, note.vector))
        elif (place := draw.randrange(read.total)) < most:
            read.notes[place] = MapNote.of(note, note.vector)
        if read.total % PAGE_NOTES == 0:
            report(min(read.total / expected, 1.0))
    return read


async def _notes(archive: NoteArchive) -> AsyncIterator[IndexedNote]:
    start: str | None = None
    while True:
        page = await archive.page(start, PAGE_NOTES, archive.vector_name)
        for note in page.notes:
            yield note
        if page.next is None:
            return
        start = page.next
