"""`SuggestionPrompts`: what to ask the model for hashtags and a category, and how to read what it generates."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from notellm.checkpoint import Manifest
from notellm.hashtags import HashtagRules, HashtagSuggestion, choice_pattern, clean_hashtag_list, hashtag_list_pattern
from notellm.note import NoteText
from notellm.prompt import NotePrompt, TokenizedNote
from notellm.ranking import RankedChoice
from notellm.vocabulary import HashtagVocabulary
from service.engines import Generation, GenerationRequest, RankingRequest
from service.notes.fields import NoteField, cut_fields

# The published code gives 30 tokens to 5 hashtags; quoted ones of an untrained model need a few more.
TOKENS_PER_HASHTAG = 8


@dataclass(frozen=True)
class Suggestions:
    """Hashtags, and a category with its confidence where the checkpoint lists categories and one was asked for."""

    hashtags: list[HashtagSuggestion]
    category: tuple[str, float] | None
    tokens: int
    truncated: tuple[NoteField, ...]


class SuggestionPrompts:
    """What one checkpoint is asked for hashtags and categories.

    Args:
        manifest: tells the categories and the hashtags that the model knows.
        prompt: the checkpoint's prompt builder.
        vocabulary: how many of those hashtags, the most frequent ones, are ranked. With 0, or where the checkpoint lists none or
            its tokenizer has no end of sequence, hashtags are what the model writes.
        rules: which hashtags are not suggested.
    """

    def __init__(self, manifest: Manifest, prompt: NotePrompt, *, vocabulary: int, rules: HashtagRules) -> None:
        self._categories = manifest.categories
        self._prompt = prompt
        self._rules = rules
        known = manifest.hashtag_vocabulary[:vocabulary] if prompt.eos_token_id is not None else ()
        # Where all of them are blocked none is suggested: the model is not let loose instead.
        self._vocabulary = HashtagVocabulary(prompt, filter(rules.allows, known)) if known else None
        # A name may be generated one byte a token, and is followed by end of sequence.
        self._longest_category = max((len(name.encode()) for name in manifest.categories), default=0) + 2
        # Every English name can be reached by tokens that bring their space along; of others this is not known.
        self._bare_spaces_in_categories = not all(_is_english(name) and name[0].isalpha() for name in manifest.categories)

    @property
    def vocabulary_size(self) -> int:
        """Hashtags that are ranked; 0 where they are written."""
        return len(self._vocabulary) if self._vocabulary is not None else 0

    def rankings(self, notes: Sequence[NoteText], tokenized: Sequence[TokenizedNote], count: int) -> list[RankingRequest]:
        """The request for the likeliest hashtags of each note; none where hashtags are written."""
        known = self._vocabulary
        if not known:
            return []
        return [
            RankingRequest(self._hashtag_prompt(ids, count), known.choices, count, known.ids_of(note.all_hashtags))
            for note, ids in zip(notes, tokenized, strict=True)
        ]

    def generations(
        self, notes: Sequence[NoteText], tokenized: Sequence[TokenizedNote], count: int, *, category: bool
    ) -> list[GenerationRequest]:
        """What is to be written: hashtags of each note unless they are ranked, then categories where wanted and listed."""
        requests = [] if self._vocabulary is not None else self._written_hashtags(notes, tokenized, count)
        if category and self._categories:
            choices = choice_pattern(self._categories, lead=self._prompt.template.output_lead)
            requests += [
                GenerationRequest(
                    tuple(self._prompt.category(ids)), choices, self._longest_category, self._bare_spaces_in_categories
                )
                for ids in tokenized
            ]
        return requests

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
        """The suggestions in the answers to `rankings` and `generations`."""
        known = self._vocabulary
        if known is None:
            lines, generated = generated[: len(notes)], generated[len(notes) :]
            hashtags = [
                clean_hashtag_list(line.pieces, count=count, exclude=note.all_hashtags, finished=line.finished)
                for note, line in zip(notes, lines, strict=True)
            ]
        else:
            hashtags = [known.suggestions(best) for best in ranked] or [[] for _ in notes]
        categories = [self._category(choice) for choice in generated] or [None] * len(notes)
        return [
            Suggestions(self._rules.apply(tags), chosen, len(self._hashtag_prompt(ids, count)), cut_fields(ids))
            for tags, chosen, ids in zip(hashtags, categories, tokenized, strict=True)
        ]

    def _hashtag_prompt(self, note: TokenizedNote, count: int) -> tuple[int, ...]:
        """For one hashtag where they are ranked: each is then a whole answer."""
        return tuple(self._prompt.hashtags(note, count if self._vocabulary is None else 1))

    def _category(self, generation: Generation) -> tuple[str, float] | None:
        name = generation.text.strip()
        return (name, math.prod(piece.probability for piece in generation.pieces)) if name in self._categories else None


def _is_english(text: str) -> bool:
    """Whether nearly all letters are ASCII."""
    letters = [letter for letter in text if letter.isalpha()]
    return sum(map(str.isascii, letters)) >= 0.9 * len(letters)
