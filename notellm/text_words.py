"""`TextWords`: which words of a hashtag a text has."""

import re

from notellm.note import hashtag_key

_MOST_CHARS = 20_000
# Words of `_SHORT` letters or more are the same if they begin alike: with all letters but two, and `_STEM` at most.
_SHORT, _STEM = 4, 6
_WORDS = re.compile(r"[^\W_]+")


class TextWords:
    """The words of a text, without case.

    Args:
        text: the text; of a very long one, only the beginning counts.
    """

    def __init__(self, text: str) -> None:
        self._words = set(_words(text[:_MOST_CHARS]))
        # For scripts that do not separate words.
        self._written = hashtag_key(text[:_MOST_CHARS])

    def share_of(self, hashtag: str) -> float:
        """The share of a hashtag's words that the text has; long words need only begin alike, so that `qubits` is found in `qubit`."""
        parts = _words(hashtag)
        return sum(map(self._has, parts)) / max(len(parts), 1)

    def _has(self, word: str) -> bool:
        if word in self._words or not word.isascii():
            return word in self._words or word in self._written
        beginning = word[: max(_SHORT, min(_STEM, len(word) - 2))]
        return len(word) >= _SHORT and any(one.startswith(beginning) for one in self._words)


def _words(text: str) -> list[str]:
    return _WORDS.findall(text.casefold())
