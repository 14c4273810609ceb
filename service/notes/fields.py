"""The fields of a note under the names that clients use.

Clients write `hashtags`; the prompt writes `topic`, as the paper does. Only this module translates between the two names.
The metric `notellm_truncations_total` keeps the prompt's names.
"""

from collections.abc import Mapping, Sequence

from notellm.messages import NoteField
from notellm.prompt import FieldName, TokenizedNote
from service.errors import FieldError

_NAMES: Mapping[FieldName, NoteField] = {"title": "title", "topic": "hashtags", "content": "content"}


def note_field(name: FieldName) -> NoteField:
    """Returns the client's name for a field of the prompt."""
    return _NAMES[name]


def cut_fields(note: TokenizedNote) -> tuple[NoteField, ...]:
    """Returns the fields that were cut to fit into the prompt."""
    return tuple(map(note_field, note.truncated))


def too_long(notes: Sequence[TokenizedNote], field: str) -> list[FieldError]:
    """Returns an error for each field that was cut to fit into the prompt."""
    return [
        FieldError(
            field=f"{field}[{position}].{note_field(name)}",
            rule="too_many_tokens",
            message=f"has {note.full_lengths[name]} tokens; {len(getattr(note, name))} are kept",
        )
        for position, note in enumerate(notes)
        for name in note.truncated
    ]
