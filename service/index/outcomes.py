"""What becomes of a write, by what is stored: the rules of `NoteIndex.upsert`, `restore` and `bury`, for both indexes."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from service.index.base import Entry, IndexedNote, Restored, Tombstone, Upserted

Written = TypeVar("Written", IndexedNote, Tombstone)
Outcome = TypeVar("Outcome", bound=str)
# Outcomes after which the index holds what was written.
_DONE = frozenset({"stored", "deleted"})


def upserted(note: IndexedNote, stored: Entry | None) -> Upserted:
    """See `NoteIndex.upsert`."""
    if note.version is None or stored is None or stored.version is None:
        return "stored"
    if isinstance(stored, Tombstone):
        return "buried" if stored.version >= note.version else "stored"
    return "overtaken" if stored.version > note.version else "stored"


def restored(note: IndexedNote, stored: Entry | None) -> Restored:
    """See `NoteIndex.restore`."""
    if stored is None:
        return "stored"
    if isinstance(stored, IndexedNote) and stored.payload == note.payload:
        return "unchanged"
    if note.version is None or stored.version is None:  # neither is known to be the older one
        return "kept"
    return "stored" if stored.version < note.version else "kept"


def buried(tombstone: Tombstone, stored: Entry | None) -> Restored:
    """See `NoteIndex.bury`."""
    if stored is None:
        return "deleted"
    if isinstance(stored, Tombstone):
        return "deleted" if stored.version < tombstone.version else "unchanged"
    return "deleted" if stored.version is not None and stored.version <= tombstone.version else "kept"


def decide(
    wanted: Sequence[Written], stored: Mapping[str, Entry], rule: Callable[[Written, Entry | None], Outcome]
) -> tuple[list[Outcome], list[Written]]:
    """Applies a rule to one write after the other, so that an id may stand twice.

    Args:
        wanted: notes or tombstones.
        stored: what is stored under their ids.
        rule: one of the functions above.

    Returns:
        The outcomes, in the order of `wanted`, and what is left to be written, one entry per id.
    """
    now: dict[str, Entry] = dict(stored)
    outcomes: list[Outcome] = []
    writes: dict[str, Written] = {}
    for entry in wanted:
        outcome = rule(entry, now.get(entry.id))
        outcomes.append(outcome)
        if outcome in _DONE:
            now[entry.id] = writes[entry.id] = entry
    return outcomes, list(writes.values())
