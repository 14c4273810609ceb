"""The text that every method reads, and its words."""

import unicodedata

import regex

from notellm.note import NoteText

# Letters, marks, digits and joining punctuation form a word. In scripts without spaces, each character is a word.
_WORD = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]|[[\p{L}\p{M}\p{N}\p{Pc}]--[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]]+", regex.V1
)


def words(text: str) -> list[str]:
    """The words of a text, case-folded (Unicode NFKC): `Café au-lait 咖啡` gives `café`, `au`, `lait`, `咖`, `啡`."""
    return list(map(str, _WORD.findall(unicodedata.normalize("NFKC", text).casefold())))


def note_text(note: NoteText) -> str:
    """Title, content and hashtags, one per line: the content of NoteLLM's embedding prompt without its instruction."""
    return "\n".join(part for part in (note.plain_title, note.plain_content, ", ".join(note.all_hashtags)) if part)
