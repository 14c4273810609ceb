"""What becomes of notes that are sent to be stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from notellm.note import Note
from notellm.prompt import TokenizedNote
from service.errors import FieldError, InvalidRequest
from service.index import IndexedNote, Vector
from service.notes.fields import NoteField, note_field

Status = Literal["stored", "unchanged", "stale", "embedded"]


@dataclass(frozen=True)
class StoredResult:
    """What became of a note. No vector if a newer version was kept, or the deletion of this one."""

    status: Status
    tokens: int
    truncated: tuple[NoteField, ...]
    vector: Vector | None


def plan(payload: dict[str, Any], stored: IndexedNote | None) -> tuple[Status, Vector | None]:
    """What to do with a note, and the vector that can be kept; no vector means that it has to be embedded."""
    if stored is None or stored.vector is None:
        return "stored", None
    if payload["version"] is not None and stored.version is not None and stored.version > payload["version"]:
        return "stale", stored.vector
    if stored.payload == payload:
        return "unchanged", stored.vector
    return "stored", stored.vector if stored.payload["content_hash"] == payload["content_hash"] else None


def refuse_repeated_ids(notes: Sequence[Note]) -> None:
    """Raises `InvalidRequest` where two notes have the same id."""
    first: dict[str, int] = {}
    for position, note in enumerate(notes):
        if (earlier := first.setdefault(note.id, position)) != position:
            raise InvalidRequest.of(f"notes[{position}].id", "unique", f"{note.id} is the id of notes[{earlier}] too")


def too_long(notes: Sequence[TokenizedNote], field: str) -> list[FieldError]:
    """Each field of which the prompt keeps a part only."""
    return [
        FieldError(
            field=f"{field}[{position}].{note_field(name)}",
            rule="too_many_tokens",
            message=f"has {note.full_lengths[name]} tokens, {len(getattr(note, name))} are kept",
        )
        for position, note in enumerate(notes)
        for name in note.truncated
    ]
