"""The rules of `NoteIndex.upsert`, `restore` and `bury` for both indexes: the outcome of a write, given what is stored."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from service.index.base import Entry, IndexedNote, Restored, Tombstone, Upserted

Written = TypeVar("Written", IndexedNote, Tombstone)
Outcome = TypeVar("Outcome", bound=str)
# The outcomes that change the index.
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
    if note.version is None or stored.version is None:  # it is unknown which one is older
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
    """Applies a rule to one write after another, so that an id may occur twice.

    Args:
        wanted: the notes or tombstones to write.
        stored: the entries that are stored under their ids.
        rule: one of the functions above.

    Returns:
        The outcomes, in the order of `wanted`, and the entries to write, one per id.
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
