"""`SuggestionPrompts`: asks the model for hashtags and a category, and reads its answers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from notellm.categories import CategoryList
from notellm.checkpoint import Manifest
from notellm.evidence import LEAST_STORED, MOST_FOUND, Evidence, EvidenceWeights, NeighbourNote
from notellm.hashtag_use import HashtagUse
from notellm.hashtags import (
    TOKENS_PER_HASHTAG,
    HashtagRules,
    HashtagSuggestion,
    clean_hashtag_list,
    hashtag_list_pattern,
)
from notellm.messages import NoteField
from notellm.note import NoteText, hashtag_key
from notellm.prompt import NotePrompt, TokenizedNote
from notellm.vocabulary import HashtagVocabulary
from service.engines import Generation, GenerationRequest, Ranking, RankingRequest
from service.index import ScoredNote, Vector
from service.notes.fields import cut_fields


@dataclass(frozen=True)
class SuggestionOptions:
    """Up to how many hashtags to suggest for each note, and whether to choose a category."""

    count: int
    category: bool


@dataclass(frozen=True)
class Suggestions:
    """Hashtags, and a category with its confidence if the checkpoint lists categories and one was requested."""

    hashtags: list[HashtagSuggestion]
    category: tuple[str, float] | None
    tokens: int
    truncated: tuple[NoteField, ...]


@dataclass(frozen=True)
class Question:
    """What the model is asked about some notes. It keeps the vocabulary that was asked with, which may change meanwhile.

    Attributes:
        notes: the notes.
        tokenized: their fields as token ids.
        count: how many hashtags to suggest for each.
        prompt: the checkpoint's prompt builder.
        rules: decide which hashtags may be suggested.
        vocabulary: the hashtags to rank; None if the model writes them.
        categories: the categories to rank; None if no category is wanted or listed.
        evidence: how much the model and stored notes count; None if only the model is asked.
        use: how often stored notes have a hashtag.
        embed: whether the notes' vectors are wanted as well.
    """

    notes: Sequence[NoteText]
    tokenized: Sequence[TokenizedNote]
    count: int
    prompt: NotePrompt
    rules: HashtagRules
    vocabulary: HashtagVocabulary | None
    categories: CategoryList | None
    evidence: EvidenceWeights | None
    use: HashtagUse
    embed: bool = False
    rankings: list[RankingRequest] = field(init=False)
    """First those for hashtags, unless the model writes them or all are blocked; then those for categories."""
    generations: list[GenerationRequest] = field(init=False)
    """For hashtags, one for each note; none if they are ranked."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rankings", [*self._ranked_hashtags(), *self._ranked_categories()])
        object.__setattr__(self, "generations", [] if self.vocabulary is not None else self._written_hashtags())

    def _ranked_hashtags(self) -> list[RankingRequest]:
        if not (known := self.vocabulary):
            return []
        count = max(self.count, MOST_FOUND) if self.asks_neighbours else self.count
        return [
            RankingRequest(
                self._hashtag_prompt(ids),
                known.choices,
                count,
                known.ids_of(note.all_hashtags),
                self._embedding(ids) if not self.categories else (),
            )
            for note, ids in zip(self.notes, self.tokenized, strict=True)
        ]

    def _ranked_categories(self) -> list[RankingRequest]:
        if not (listed := self.categories):
            return []
        return [
            RankingRequest(tuple(self.prompt.category(ids)), listed.choices, listed.compared, embedding=self._embedding(ids))
            for ids in self.tokenized
        ]

    def _embedding(self, note: TokenizedNote) -> tuple[int, ...]:
        """Returns the embedding prompt if the vector is needed. The category prompt begins with it, so that the vector costs nothing."""
        return tuple(self.prompt.embedding(note)) if self.embed or self.asks_neighbours else ()

    @property
    def embeddings(self) -> list[list[int]]:
        """Embedding prompts of the notes whose vectors are wanted and do not come with `rankings`."""
        return [self.prompt.embedding(ids) for ids in self.tokenized] if self.embed and not self.rankings else []

    def _written_hashtags(self) -> list[GenerationRequest]:
        template = self.prompt.template
        pattern = hashtag_list_pattern(self.count, lead=template.output_lead, separator=template.hashtag_separator)
        return [
            GenerationRequest(
                self._hashtag_prompt(ids),
                pattern,
                TOKENS_PER_HASHTAG * self.count,
                bare_spaces=not _is_english(note.plain_title + note.plain_content),
            )
            for note, ids in zip(self.notes, self.tokenized, strict=True)
        ]

    @property
    def asks_neighbours(self) -> bool:
        """Whether the hashtags of the nearest stored notes count. `read` then takes them."""
        return bool(self.evidence and self.vocabulary and self.use.notes >= LEAST_STORED)

    def vectors(self, ranked: Sequence[Ranking]) -> list[Vector]:
        """The vectors of the notes from the answers to `rankings`; none if they were not asked for."""
        return [one.vector for one in ranked if one.vector is not None]

    def read(
        self, ranked: Sequence[Ranking], generated: Sequence[Generation],
        neighbours: Sequence[Sequence[ScoredNote]] = (),
    ) -> list[Suggestions]:  # fmt: skip
        """Reads the suggestions.

        Args:
            ranked: the answers to `rankings`.
            generated: the answers to `generations`.
            neighbours: the nearest stored notes of each note, nearest first; empty if they are not known, so that only the model counts.
        """
        if self.vocabulary is None:
            hashtags = [
                clean_hashtag_list(line.pieces, count=self.count, exclude=note.all_hashtags, finished=line.finished)
                for note, line in zip(self.notes, generated, strict=True)
            ]
        elif self.vocabulary:
            found = [self.vocabulary.suggestions(best.choices) for best in ranked[: len(self.notes)]]
            hashtags = [
                self._weighed(note, tags, near) if near else tags
                for note, tags, near in zip(self.notes, found, neighbours or [()] * len(self.notes), strict=True)
            ]
            ranked = ranked[len(self.notes) :]
        else:
            hashtags = [[] for _ in self.notes]
        listed = self.categories
        chosen = (listed.likeliest(best.choices) for best in ranked) if listed else (None for _ in self.notes)
        return [
            Suggestions(self.rules.apply(tags)[: self.count], category, len(self._hashtag_prompt(ids)), cut_fields(ids))
            for tags, category, ids in zip(hashtags, chosen, self.tokenized, strict=True)
        ]

    def _weighed(
        self, note: NoteText, found: Sequence[HashtagSuggestion], near: Sequence[ScoredNote]
    ) -> list[HashtagSuggestion]:
        """The hashtags of the model and of the neighbours, most probable first; those of the model alone if no neighbour votes."""
        if self.evidence is None or self.vocabulary is None:
            raise ValueError("this question does not ask neighbours")
        known, own = self.vocabulary, set(map(hashtag_key, note.all_hashtags))
        # A copy of this note, or a note without hashtags, would only take votes away.
        voting = [
            NeighbourNote(one.score, f"{one.payload['title']}\n{one.payload['content']}", one.payload["hashtag_keys"])
            for one in near
            if not own.issuperset(one.payload["hashtag_keys"])
        ]
        if not voting:
            return list(found)
        evidence = Evidence(note.plain_text, found, voting)
        candidates = evidence.candidates(
            self.use, lambda key: None if key in own else known.spelling(key), self.evidence.temperature
        )
        return self.evidence.suggestions(candidates, self.count)

    def _hashtag_prompt(self, note: TokenizedNote) -> tuple[int, ...]:
        """Returns the prompt. If hashtags are ranked, it asks for one hashtag, because each one is then a complete answer."""
        return tuple(self.prompt.hashtags(note, self.count if self.vocabulary is None else 1))


class SuggestionPrompts:
    """Asks one checkpoint for hashtags and categories.

    The hashtags that may be suggested are those of the checkpoint and, after `learn`, those that stored notes have.

    Args:
        manifest: lists the categories and hashtags that the model knows.
        prompt: the checkpoint's prompt builder.
        vocabulary: how many hashtags of the checkpoint to rank, and how many of the stored notes, the most frequent ones. The model writes
            hashtags freely instead if this is 0, if the checkpoint lists no hashtags, or if its tokenizer has no end-of-sequence token.
        min_uses: how many stored notes must have a hashtag that the checkpoint does not list.
        rules: decide which hashtags may be suggested.
    """

    def __init__(
        self, manifest: Manifest, prompt: NotePrompt, *, vocabulary: int, min_uses: int = 1, rules: HashtagRules
    ) -> None:
        self._prompt = prompt
        self._rules = rules
        self._most = vocabulary
        self._min_uses = min_uses
        self._evidence = manifest.hashtag_evidence
        self._use = HashtagUse()
        can_rank = prompt.eos_token_id is not None
        listed = manifest.hashtag_vocabulary[:vocabulary] if can_rank else ()
        self._listed = {hashtag_key(tag): tag for tag in reversed(listed) if rules.allows(tag)}
        self._candidates = self._listed
        # If all known hashtags are blocked, none is suggested: the model does not write freely instead.
        self._vocabulary = HashtagVocabulary(prompt, self._listed.values()) if listed else None
        self._categories = CategoryList(prompt, manifest.categories) if can_rank and manifest.categories else None

    @property
    def vocabulary_size(self) -> int:
        """Number of hashtags that are ranked; 0 if the model writes hashtags freely."""
        return len(self._vocabulary) if self._vocabulary is not None else 0

    def learn(self, use: HashtagUse) -> None:
        """Takes over the hashtags of stored notes. Do not call it on the event loop: it tokenises new hashtags.

        Questions that were asked before keep their vocabulary.
        """
        if self._vocabulary is None:
            return
        self._use = use
        candidates = self._listed | {
            key: use.spelled[key]
            for key, count in islice(use.counts.items(), self._most)
            # A hashtag that has come into use stays while any note has it: a count may be an estimate that goes up and down.
            if count >= self._min_uses or (key in self._candidates and key not in self._listed)
        }
        candidates = {key: tag for key, tag in candidates.items() if self._rules.allows(tag)}
        # The same vocabulary stays: engines keep what they have made of it.
        if candidates != self._candidates:
            self._vocabulary = HashtagVocabulary(self._prompt, candidates.values(), earlier=self._vocabulary)
            self._candidates = candidates

    def ask(
        self, notes: Sequence[NoteText], tokenized: Sequence[TokenizedNote], options: SuggestionOptions, *, embed: bool = False
    ) -> Question:
        """Returns the question for some notes. With `embed`, its answers hold the notes' vectors as well."""
        categories = self._categories if options.category else None
        return Question(
            notes,
            tokenized,
            options.count,
            self._prompt,
            self._rules,
            self._vocabulary,
            categories,
            self._evidence,
            self._use,
            embed,
        )


def _is_english(text: str) -> bool:
    """Whether nearly all letters are ASCII."""
    letters = [letter for letter in text if letter.isalpha()]
    return sum(map(str.isascii, letters)) >= 0.9 * len(letters)
