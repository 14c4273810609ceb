"""Cleans lists of hashtags: the output of every engine, and the hashtags in every evaluation."""

import math
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import regex

from notellm.note import clean_hashtag, hashtag_key

Source = Literal["model", "neighbours"]
# How many hashtags a prompt may ask for.
MIN_COUNT, MAX_COUNT = 1, 10
MAX_WORDS = 4
MAX_CHARS = 40
# The published code allows 30 tokens for 5 hashtags; an untrained model quotes them and needs a few more.
TOKENS_PER_HASHTAG = 8

_WORD = r"[\p{L}\p{M}\p{N}+#&'’-]{1,24}"
# Untrained models put quotes around hashtags, and number them if they may start with a digit.
_HASHTAG = rf"\"?\p{{L}}(?:{_WORD})?(?: {_WORD}){{0,{MAX_WORDS - 1}}}\"?"

_SEPARATOR = regex.compile(r"[,，、;；|/\n]+|(?<!\w)[#＃]|\s[-–—*•·]\s|(?<=^|\s)\d{1,2}[.)]\s|\.(?=\s|$)|。")
_EDGES = regex.compile(r"^[\p{White_Space}\p{P}\p{C}]+|[[\p{White_Space}\p{P}\p{C}]--[#]]+$", regex.V1)
# Words that a cut or a comma leaves at the ends of an English item.
_LEADING_WORDS = regex.compile(r"^(?:(?:and|or|the|a|an)\s+)+", regex.IGNORECASE)
_TRAILING_WORDS = regex.compile(r"(?:\s+(?:and|or|the|a|an|of|to|in|on|for|with|by|from|is|are))+$", regex.IGNORECASE)
_LONE_LETTER = regex.compile(r"[A-Za-z]")
_HAS_LETTER = regex.compile(r"[\p{L}\p{Extended_Pictographic}]")
# A model that has nothing to suggest repeats words of the prompt.
_PROMPT_WORDS = frozenset(
    map(
        hashtag_key,
        (
            "topic",
            "topics",
            "title",
            "content",
            "category",
            "json",
            "note",
            "compression word",
            "compression words",
            "话题",
            "标题",
            "内容",
        ),
    )
)


@dataclass(frozen=True)
class GeneratedPiece:
    """A generated token: the text that it adds, and its probability."""

    text: str
    probability: float


@dataclass(frozen=True)
class HashtagSuggestion:
    """A clean hashtag and its confidence.

    For a hashtag of a generated list, confidence is the geometric mean of the probabilities of its tokens. For a ranked hashtag, it
    is the probability of the whole hashtag. With the evidence of neighbours, it is the probability that the note has the hashtag.

    Attributes:
        sources: who brings it.
    """

    hashtag: str
    confidence: float
    sources: tuple[Source, ...] = ("model",)


@dataclass(frozen=True)
class HashtagRules:
    """Which clean hashtags a platform does not want to suggest.

    Attributes:
        blocked: the `hashtag_key` of each hashtag that is never suggested.
        min_confidence: less confident hashtags are dropped.
    """

    blocked: frozenset[str] = frozenset()
    min_confidence: float = 0.0

    @classmethod
    def of(cls, blocked: Iterable[str], min_confidence: float = 0.0) -> "HashtagRules":
        """Rules that block hashtags in any spelling; text that is not a hashtag blocks nothing."""
        return cls(frozenset(filter(None, (hashtag_key(clean_hashtag(tag)) for tag in blocked))), min_confidence)

    def allows(self, hashtag: str) -> bool:
        """Whether a hashtag is allowed, whatever its confidence."""
        return hashtag_key(hashtag) not in self.blocked

    def apply(self, suggestions: Iterable[HashtagSuggestion]) -> list[HashtagSuggestion]:
        """The suggestions that are allowed, in the given order; an empty list is a valid answer."""
        return [
            suggestion
            for suggestion in suggestions
            if suggestion.confidence >= self.min_confidence and self.allows(suggestion.hashtag)
        ]


def hashtag_list_pattern(count: int, *, lead: str, separator: str) -> str:
    """Regular expression for 1 to `count` hashtags that continue a prompt: no numbering, sentences or empty items.

    It uses the dialect of Rust's regex crate, which structured-output back ends share, and therefore no look-around.
    """
    return f"{lead}{_HASHTAG}(?:{separator}{_HASHTAG}){{0,{count - 1}}}"


def choice_pattern(choices: Sequence[str], *, lead: str) -> str:
    """Regular expression for any one of the choices that continues a prompt."""
    return f"{lead}(?:{'|'.join(re.escape(choice) for choice in choices)})"


def clean_hashtag_list(
    pieces: Sequence[GeneratedPiece], *, count: int, exclude: Collection[str] = (), finished: bool = True
) -> list[HashtagSuggestion]:
    """The hashtags of a generated list, in the order of the list.

    Removes separators, numbering, quotes and `#`, and drops repetitions, sentences, bare numbers, words of the prompt and the
    note's own hashtags. An empty list is a valid answer.

    Args:
        pieces: the generated line.
        count: most hashtags to return.
        exclude: the note's own hashtags, in any spelling.
        finished: false if generation was cut off: the last hashtag may then be incomplete and is dropped, unless it is the only one.
    """
    spans = list(_spans("".join(piece.text for piece in pieces)))
    if not finished and len(spans) > 1:
        spans.pop()
    seen = {hashtag_key(tag) for tag in exclude} | _PROMPT_WORDS
    suggestions: list[HashtagSuggestion] = []
    for start, end, text in spans:
        tag = _clean(text)
        if tag and hashtag_key(tag) not in seen:
            seen.add(hashtag_key(tag))
            suggestions.append(HashtagSuggestion(tag, _confidence(pieces, start, end)))
    return suggestions[:count]


def is_clean(tag: str) -> bool:
    """Whether a hashtag is short enough to be suggested, and more than a number or a single letter."""
    short = len(tag) <= MAX_CHARS and len(tag.split()) <= MAX_WORDS
    return bool(short and _HAS_LETTER.search(tag) and not _LONE_LETTER.fullmatch(tag))


def _clean(text: str) -> str:
    """The hashtag in `text`, or an empty string if there is none."""
    tag = clean_hashtag(_TRAILING_WORDS.sub("", _LEADING_WORDS.sub("", _EDGES.sub("", text))))
    return tag if is_clean(tag) else ""


def _spans(text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and text of each item between separators."""
    start = 0
    for separator in _SEPARATOR.finditer(text):
        if text[start : separator.start()].strip():
            yield start, separator.start(), text[start : separator.start()]
        start = separator.end()
    if text[start:].strip():
        yield start, len(text), text[start:]


def _confidence(pieces: Sequence[GeneratedPiece], start: int, end: int) -> float:
    """Geometric mean of the probabilities of the pieces that share characters with [start, end)."""
    logs, position = [], 0
    for piece in pieces:
        if position < end and position + len(piece.text) > start:
            logs.append(math.log(max(piece.probability, 1e-12)))
        position += len(piece.text)
    return math.exp(math.fsum(logs) / len(logs)) if logs else 0.0
