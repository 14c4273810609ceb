"""`Wave`: notes that ask for hashtags while other notes are stored."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from notellm.note import Note

WAVES = 10


@dataclass(frozen=True)
class Wave:
    """Some of the notes that arrive one after another.

    Attributes:
        asking: the notes that get suggestions.
        arrived: the notes that arrived before them, oldest first. They are stored by then, with what was stored from the start.
    """

    asking: tuple[Note, ...]
    arrived: tuple[Note, ...]


def waves(arriving: Sequence[Note], asking: Collection[str], count: int = WAVES) -> list[Wave]:
    """Lets notes arrive in parts of about equal size.

    A service stores each note at once, so a note that asks knows a little less here than it would there.

    Args:
        arriving: the notes, oldest first.
        asking: ids of those that get suggestions. Waves without any are left out.
        count: number of parts.
    """
    size = max(1, -(-len(arriving) // count))
    parts = [
        Wave(tuple(note for note in arriving[start : start + size] if note.id in asking), tuple(arriving[:start]))
        for start in range(0, len(arriving), size)
    ]
    return [part for part in parts if part.asking]
