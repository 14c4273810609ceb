"""Decides for each note that a client sends whether it is embedded, stored or ignored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from notellm.messages import NoteField, NoteStatus
from notellm.note import Note
from service.errors import InvalidRequest
from service.index import Entry, IndexedNote, Tombstone, Vector
from service.index.outcomes import upserted
from service.notes.embedder import EmbeddedText
from service.notes.suggestions import Suggestions


@dataclass(frozen=True)
class StoredResult:
    """The result for one note.

    Attributes:
        status: what happens to the note.
        vector: the stored or computed vector, (dimensions,); None while it has to be computed, and for a stale note.
        tokens: number of tokens in the embedded prompt; 0 if nothing had to be embedded.
        truncated: the fields that were cut in that prompt.
        suggestions: what was suggested for the note, if that was requested.
    """

    status: NoteStatus
    vector: Vector | None = None
    tokens: int = 0
    truncated: tuple[NoteField, ...] = ()
    suggestions: Suggestions | None = None

    @property
    def lacks_vector(self) -> bool:
        """Whether the note has to be embedded before it is stored."""
        return self.status == "stored" and self.vector is None

    def with_text(self, text: EmbeddedText) -> "StoredResult":
        """The result after the note was read: with its embedding, if it lacked one, and with its suggestions."""
        if not self.lacks_vector:
            return replace(self, suggestions=text.suggestions)
        return StoredResult(self.status, text.vector, text.tokens, text.truncated, text.suggestions)


def plan(note: IndexedNote, found: Entry | None) -> StoredResult:
    """Decides what to do with a note without a vector, based on what is stored under its id."""
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
    """Selects the notes to store, and adds their vectors. `results` and `others` (vectors of other models) are by note id."""
    return [
        replace(note, vector=results[note.id].vector, others=others.get(note.id, {}))
        for note in notes
        if results[note.id].status == "stored"
    ]


def refuse_repeated_ids(notes: Sequence[Note]) -> None:
    """Raises `InvalidRequest` if two notes have the same id."""
    first: dict[str, int] = {}
    for position, note in enumerate(notes):
        if (earlier := first.setdefault(note.id, position)) != position:
            raise InvalidRequest.of(f"notes[{position}].id", "unique", f"{note.id} is also the id of notes[{earlier}]")
