"""`note_field` and `cut_fields`: the fields of a note under the names that clients know.

Clients write `hashtags`, the prompt calls them `topic`, as the paper does. Here, and nowhere else, one name becomes the other.
The metric `notellm_truncations_total` keeps the prompt's names.
"""

from collections.abc import Mapping
from typing import Literal

from notellm.prompt import FieldName, TokenizedNote

NoteField = Literal["title", "hashtags", "content"]
_NAMES: Mapping[FieldName, NoteField] = {"title": "title", "topic": "hashtags", "content": "content"}


def note_field(name: FieldName) -> NoteField:
    """The client's name of a field of the prompt."""
    return _NAMES[name]


def cut_fields(note: TokenizedNote) -> tuple[NoteField, ...]:
    """The fields of which the prompt keeps a part only."""
    return tuple(map(note_field, note.truncated))
