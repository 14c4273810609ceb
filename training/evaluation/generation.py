"""Greedy generation of hashtags and categories by a checkpoint, free or restricted to a list, and ranking of a list of hashtags."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from notellm.hashtags import TOKENS_PER_HASHTAG, GeneratedPiece, clean_hashtag_list
from notellm.note import Note, hashtag_key
from notellm.ranking import ChoiceRanker, ChoiceSearch
from notellm.trie import TokenTrie
from notellm.vocabulary import HashtagVocabulary
from training.evaluation.embedding import LoadedCheckpoint
from training.evaluation.measurement import CategoryScores

BATCH = 16
Allowed = Callable[[int, torch.Tensor], list[int]]


class Generator:
    """Generates hashtags and categories with a checkpoint.

    Args:
        loaded: the checkpoint.
    """

    def __init__(self, loaded: LoadedCheckpoint) -> None:
        self._loaded = loaded
        self._prompt = loaded.prompt
        self._tokenizer: Any = loaded.checkpoint.tokenizer

    @property
    def _model(self) -> Any:
        return self._loaded.model.causal_lm

    def hashtags(self, notes: Sequence[Note], count: int) -> list[list[str]]:
        """At most `count` hashtags for each note, from title and content only, cleaned as in the service."""
        prompts = [self._prompt.hashtags(note, count) for note in self._prompt.tokenize(notes)]
        return [self._read(ids, count) for ids in self._continue(prompts, TOKENS_PER_HASHTAG * count)]

    def ranked_hashtags(self, notes: Sequence[Note], count: int, vocabulary: Sequence[str]) -> list[list[str]]:
        """The `count` hashtags of a vocabulary that are likeliest as the only hashtag of the note, best first.

        The service ranks in the same way, see `HashtagVocabulary`.

        Args:
            notes: notes whose title and content the model reads.
            count: hashtags per note; fewer if the search finds no more.
            vocabulary: the only hashtags that can be suggested.
        """
        if not vocabulary:
            return [[] for _ in notes]
        ranker = ChoiceRanker(self._loaded.model.layers)
        known = HashtagVocabulary(self._prompt, vocabulary)
        prompts = [self._prompt.hashtags(note, 1) for note in self._prompt.tokenize(notes)]
        searches = [ChoiceSearch(known.choices, count) for _ in prompts]
        for start in range(0, len(prompts), BATCH):
            ranker.run(prompts[start : start + BATCH], searches[start : start + BATCH])
        return [[suggestion.hashtag for suggestion in known.suggestions(search.found)] for search in searches]

    def categories(self, notes: Sequence[Note], allowed: Sequence[str] | None = None) -> list[str]:
        """The category of each note.

        Args:
            notes: the notes to categorise.
            allowed: the only categories that can be generated; None allows any text.
        """
        prompts = [self._prompt.category(note) for note in self._prompt.tokenize(notes)]
        if allowed is None:
            answers = self._continue(prompts, 2 * TOKENS_PER_HASHTAG)
        else:
            choices = TokenTrie(map(self._prompt.output, allowed), self._tokenizer.eos_token_id)
            answers = self._continue(prompts, choices.longest, choices)
        return [self._text(ids).strip() for ids in answers]

    def _read(self, ids: list[int], count: int) -> list[str]:
        finished = self._tokenizer.eos_token_id in ids
        pieces = [GeneratedPiece(self._text(ids).split("\n")[0], 1.0)]
        return [suggestion.hashtag for suggestion in clean_hashtag_list(pieces, count=count, finished=finished)]

    def _text(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))

    def _continue(self, prompts: list[list[int]], new_tokens: int, choices: TokenTrie | None = None) -> list[list[int]]:
        """The ids generated after each prompt."""
        answers: list[list[int]] = [[] for _ in prompts]
        for members, ids, mask in self._batches(prompts):
            written = self._generate(ids, mask, choices, new_tokens)
            for index, new in zip(members, written.tolist(), strict=True):
                answers[index] = new
        return answers

    def _batches(self, prompts: list[list[int]]) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
        """Indices, ids and mask of batches of prompts with similar lengths, padded on the left."""
        pad = self._tokenizer.pad_token_id
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        for start in range(0, len(order), BATCH):
            members = order[start : start + BATCH]
            width = max(len(prompts[index]) for index in members)
            rows = [(width - len(prompts[index]), prompts[index]) for index in members]
            ids = [[pad] * padding + ids for padding, ids in rows]
            mask = [[0] * padding + [1] * len(ids) for padding, ids in rows]
            device = self._model.device
            yield members, torch.tensor(ids, device=device), torch.tensor(mask, device=device)

    @torch.inference_mode()
    def _generate(self, ids: torch.Tensor, mask: torch.Tensor, choices: TokenTrie | None, new_tokens: int) -> torch.Tensor:
        """The ids generated after each row, (rows, tokens)."""
        # Otherwise the base model's own settings (penalties, beams) would apply as well.
        self._model.generation_config = GenerationConfig()
        written: torch.Tensor = self._model.generate(
            ids,
            attention_mask=mask,
            generation_config=GenerationConfig(
                max_new_tokens=new_tokens,
                do_sample=False,
                num_beams=1,
                eos_token_id=self._tokenizer.eos_token_id,
                pad_token_id=self._tokenizer.pad_token_id,
            ),
            prefix_allowed_tokens_fn=_restricted_to(choices, ids.shape[1]) if choices else None,
        )
        return written[:, ids.shape[1] :]


def score_categories(
    free: Sequence[str], constrained: Sequence[str], notes: Sequence[Note], known: Sequence[str]
) -> CategoryScores:
    """Compares generated with given categories, ignoring case and spaces.

    Args:
        free: (notes,), generated freely.
        constrained: (notes,), generated with only `known` allowed.
        notes: notes that all have a category.
        known: the list of categories; a generated category outside it is an illusion.
    """
    given = [hashtag_key(str(note.category)) for note in notes]
    listed = {hashtag_key(category) for category in known}
    return CategoryScores(
        accuracy=[float(hashtag_key(answer) == right) for answer, right in zip(free, given, strict=True)],
        illusion=[float(hashtag_key(answer) not in listed) for answer in free],
        constrained_accuracy=[float(hashtag_key(answer) == right) for answer, right in zip(constrained, given, strict=True)],
    )


def _restricted_to(choices: TokenTrie, width: int) -> Allowed:
    """A function that `generate` calls before each token to get the tokens that may follow."""
    return lambda _, ids: choices.following(ids[width:].tolist())
