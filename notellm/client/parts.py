"""`Part`: some notes of a long list, few enough for one request."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from notellm.client.calls import Json

# As large as fills the service's forward passes; far below its limit of a body.
MOST_NOTES = 64
MOST_SUGGESTED = 16
MOST_BYTES = 2**20


@dataclass
class Part:
    """Consecutive notes.

    Attributes:
        places: their numbers in the list.
        notes: their fields.
        size: length of their JSON.
    """

    places: list[int] = field(default_factory=list)
    notes: list[Json] = field(default_factory=list)
    size: int = 0

    def halves(self) -> list["Part"]:
        """Two parts with the same notes, or none if there is only one note."""
        middle = len(self.notes) // 2
        return [
            _part(list(zip(self.places[cut], self.notes[cut], strict=True)))
            for cut in (slice(middle), slice(middle, None))
            if middle
        ]


def rounds(notes: Iterable[Json], most: int) -> list[list[Part]]:
    """Cuts notes into parts. Parts of one round may be sent side by side; a later round must wait for it.

    Of two notes with the same id, the later one is in a later round, so that it is stored last.

    Args:
        notes: their fields, in order.
        most: notes in one part.
    """
    made: list[list[Part]] = [[]]
    ids: set[str] = set()
    part = Part()
    for place, note in enumerate(notes):
        size = len(json.dumps(note, default=str))
        note_id = note.get("id")
        again = isinstance(note_id, str) and note_id in ids
        if part.notes and (again or len(part.notes) >= most or part.size + size > MOST_BYTES):
            made[-1].append(part)
            part = Part()
        if again:
            made.append([])
            ids = set()
        part.places.append(place)
        part.notes.append(note)
        part.size += size
        if isinstance(note_id, str):
            ids.add(note_id)
    if part.notes:
        made[-1].append(part)
    return made


def _part(numbered: list[tuple[int, Json]]) -> Part:
    return Part([place for place, _ in numbered], [note for _, note in numbered])
