"""`SuggestionPrompts`: builds the model's requests for hashtags and a category, and reads its answers."""

from collections.abc import Sequence
from dataclasses import dataclass

from notellm.categories import CategoryList
from notellm.checkpoint import Manifest
from notellm.hashtags import (
    TOKENS_PER_HASHTAG,
    HashtagRules,
    HashtagSuggestion,
    clean_hashtag_list,
    hashtag_list_pattern,
)
from notellm.note import NoteText
from notellm.prompt import NotePrompt, TokenizedNote
from notellm.ranking import RankedChoice
from notellm.vocabulary import HashtagVocabulary
from service.engines import Generation, GenerationRequest, RankingRequest
from service.notes.fields import NoteField, cut_fields


@dataclass(frozen=True)
class Suggestions:
    """Hashtags, and a category with its confidence if the checkpoint lists categories and one was requested."""

    hashtags: list[HashtagSuggestion]
    category: tuple[str, float] | None
    tokens: int
    truncated: tuple[NoteField, ...]


class SuggestionPrompts:
    """Builds one checkpoint's requests for hashtags and categories, and reads the answers.

    Args:
        manifest: lists the categories and hashtags that the model knows.
        prompt: the checkpoint's prompt builder.
        vocabulary: how many of these hashtags to rank, most frequent first. The model writes hashtags freely instead if this is 0, if
            the checkpoint lists no hashtags, or if its tokenizer has no end-of-sequence token.
        rules: decide which hashtags may be suggested.
    """

    def __init__(self, manifest: Manifest, prompt: NotePrompt, *, vocabulary: int, rules: HashtagRules) -> None:
        self._prompt = prompt
        self._rules = rules
        can_rank = prompt.eos_token_id is not None
        known = manifest.hashtag_vocabulary[:vocabulary] if can_rank else ()
        # If all known hashtags are blocked, none is suggested: the model does not write freely instead.
        self._vocabulary = HashtagVocabulary(prompt, filter(rules.allows, known)) if known else None
        self._categories = CategoryList(prompt, manifest.categories) if can_rank and manifest.categories else None

    @property
    def vocabulary_size(self) -> int:
        """Number of hashtags that are ranked; 0 if the model writes hashtags freely."""
        return len(self._vocabulary) if self._vocabulary is not None else 0

    def rankings(
        self, notes: Sequence[NoteText], tokenized: Sequence[TokenizedNote], count: int, *, category: bool
    ) -> list[RankingRequest]:
        """Returns the ranking requests: first for hashtags, unless the model writes them; then for categories, if wanted and listed."""
        requests = []
        if known := self._vocabulary:
            requests += [
                RankingRequest(self._hashtag_prompt(ids, count), known.choices, count, known.ids_of(note.all_hashtags))
                for note, ids in zip(notes, tokenized, strict=True)
            ]
        if category and (listed := self._categories):
            requests += [
                RankingRequest(tuple(self._prompt.category(ids)), listed.choices, listed.compared) for ids in tokenized
            ]
        return requests

    def generations(self, notes: Sequence[NoteText], tokenized: Sequence[TokenizedNote], count: int) -> list[GenerationRequest]:
        """Returns one generation request per note for hashtags; none if they are ranked."""
        return [] if self._vocabulary is not None else self._written_hashtags(notes, tokenized, count)

    def _written_hashtags(
        self, notes: Sequence[NoteText], tokenized: Sequence[TokenizedNote], count: int
    ) -> list[GenerationRequest]:
        template = self._prompt.template
        pattern = hashtag_list_pattern(count, lead=template.output_lead, separator=template.hashtag_separator)
        return [
            GenerationRequest(
                self._hashtag_prompt(ids, count),
                pattern,
                TOKENS_PER_HASHTAG * count,
                bare_spaces=not _is_english(note.plain_title + note.plain_content),
            )
            for note, ids in zip(notes, tokenized, strict=True)
        ]

    def read(
        self, notes: Sequence[NoteText], tokenized: Sequence[TokenizedNote], ranked: Sequence[Sequence[RankedChoice]],
        generated: Sequence[Generation], count: int,
    ) -> list[Suggestions]:  # fmt: skip
        """Reads the suggestions from the answers to `rankings` and `generations`."""
        if self._vocabulary is None:
            hashtags = [
                clean_hashtag_list(line.pieces, count=count, exclude=note.all_hashtags, finished=line.finished)
                for note, line in zip(notes, generated, strict=True)
            ]
        elif self._vocabulary:
            hashtags = [self._vocabulary.suggestions(best) for best in ranked[: len(notes)]]
            ranked = ranked[len(notes) :]
        else:
            hashtags = [[] for _ in notes]
        categories: list[tuple[str, float] | None] = (
            [self._categories.likeliest(best) for best in ranked] if self._categories else []
        )
        return [
            Suggestions(self._rules.apply(tags), chosen, len(self._hashtag_prompt(ids, count)), cut_fields(ids))
            for tags, chosen, ids in zip(hashtags, categories or [None] * len(notes), tokenized, strict=True)
        ]

    def _hashtag_prompt(self, note: TokenizedNote, count: int) -> tuple[int, ...]:
        """Returns the prompt. If hashtags are ranked, it asks for one hashtag, because each one is then a complete answer."""
        return tuple(self._prompt.hashtags(note, count if self._vocabulary is None else 1))


def _is_english(text: str) -> bool:
    """Whether nearly all letters are ASCII."""
    letters = [letter for letter in text if letter.isalpha()]
    return sum(map(str.isascii, letters)) >= 0.9 * len(letters)
