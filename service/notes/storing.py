"""What becomes of notes that are sent to be stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from notellm.note import Note
from notellm.prompt import TokenizedNote
from service.errors import FieldError, InvalidRequest
from service.index import Entry, IndexedNote, Tombstone, Vector
from service.index.outcomes import upserted
from service.notes.fields import NoteField, note_field

Status = Literal["stored", "unchanged", "stale", "embedded"]


@dataclass(frozen=True)
class StoredResult:
    """What becomes of a note.

    Attributes:
        status: of the note.
        vector: that was kept or computed, (dimensions,); None as long as it has to be computed, and for a stale note.
        tokens: of the prompt that was embedded; 0 if nothing had to be embedded.
        truncated: fields that were cut in that prompt.
    """

    status: Status
    vector: Vector | None = None
    tokens: int = 0
    truncated: tuple[NoteField, ...] = ()

    @property
    def lacks_vector(self) -> bool:
        """Whether the note has to be embedded before it is stored."""
        return self.status == "stored" and self.vector is None


def plan(note: IndexedNote, found: Entry | None) -> StoredResult:
    """What is to become of a note that comes without a vector, by what is stored under its id."""
    if upserted(note, found) != "stored":
        return StoredResult("stale")
    if found is None or isinstance(found, Tombstone) or found.vector is None:
        return StoredResult("stored")
    if found.payload == note.payload:
        return StoredResult("unchanged", found.vector)
    same_text = found.payload["content_hash"] == note.payload["content_hash"]
    return StoredResult("stored", found.vector if same_text else None)


def to_write(
    notes: Sequence[IndexedNote], results: Mapping[str, StoredResult], others: Mapping[str, Mapping[str, Vector]]
) -> list[IndexedNote]:
    """Those of the notes that are to be stored, with their vectors and those of other models, all by the notes' ids."""
    return [
        replace(note, vector=results[note.id].vector, others=others.get(note.id, {}))
        for note in notes
        if results[note.id].status == "stored"
    ]


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
