"""Greedy generation of hashtags and categories by a checkpoint, free or held to a list."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from notellm.hashtags import GeneratedPiece, clean_hashtag_list
from notellm.note import Note, hashtag_key
from training.evaluation.embedding import LoadedCheckpoint
from training.evaluation.measurement import CategoryScores

BATCH = 16
TOKENS_A_HASHTAG = 8
Allowed = Callable[[int, torch.Tensor], list[int]]


class Generator:
    """What a checkpoint writes.

    Args:
        loaded: the checkpoint.
    """

    def __init__(self, loaded: LoadedCheckpoint) -> None:
        self._loaded = loaded
        self._prompt = loaded.prompt
        self._tokenizer: Any = loaded.checkpoint.tokenizer

    def hashtags(self, notes: Sequence[Note], count: int) -> list[list[str]]:
        """At most `count` hashtags for each note, out of title and content alone, cleaned as the service cleans them."""
        prompts = [self._prompt.hashtags(note, count) for note in self._prompt.tokenize(notes)]
        return [self._read(ids, count) for ids in self._continue(prompts, TOKENS_A_HASHTAG * count)]

    def categories(self, notes: Sequence[Note], allowed: Sequence[str] | None = None) -> list[str]:
        """The category of each note.

        Args:
            notes: what to categorise.
            allowed: the only answers that can be generated; anything when none.
        """
        prompts = [self._prompt.category(note) for note in self._prompt.tokenize(notes)]
        if allowed is None:
            answers = self._continue(prompts, 2 * TOKENS_A_HASHTAG)
        else:
            choices = [[*self._prompt.output(category), self._tokenizer.eos_token_id] for category in allowed]
            answers = self._continue(prompts, max(map(len, choices)), choices)
        return [self._text(ids).strip() for ids in answers]

    def _read(self, ids: list[int], count: int) -> list[str]:
        finished = self._tokenizer.eos_token_id in ids
        pieces = [GeneratedPiece(self._text(ids).split("\n")[0], 1.0)]
        return [suggestion.hashtag for suggestion in clean_hashtag_list(pieces, count=count, finished=finished)]

    def _text(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))

    @torch.inference_mode()
    def _continue(self, prompts: list[list[int]], new_tokens: int, choices: list[list[int]] | None = None) -> list[list[int]]:
        """New ids of each prompt; batches are padded on the left, prompts of like length together."""
        model: Any = self._loaded.model.causal_lm
        pad = self._tokenizer.pad_token_id
        settings = GenerationConfig(
            max_new_tokens=new_tokens, do_sample=False, num_beams=1, eos_token_id=self._tokenizer.eos_token_id, pad_token_id=pad
        )
        # A base model's own settings (penalties, beams) would leak into greedy search.
        model.generation_config = GenerationConfig()
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        answers: list[list[int]] = [[] for _ in prompts]
        for start in range(0, len(order), BATCH):
            members = order[start : start + BATCH]
            width = max(len(prompts[index]) for index in members)
            rows = [(width - len(prompts[index]), prompts[index]) for index in members]
            written = model.generate(
                torch.tensor([[pad] * padding + ids for padding, ids in rows], device=model.device),
                attention_mask=torch.tensor([[0] * padding + [1] * len(ids) for padding, ids in rows], device=model.device),
                generation_config=settings,
                prefix_allowed_tokens_fn=_one_of(choices, width) if choices else None,
            )
            for index, ids in zip(members, written[:, width:].tolist(), strict=True):
                answers[index] = ids
        return answers


def score_categories(
    free: Sequence[str], constrained: Sequence[str], notes: Sequence[Note], known: Sequence[str]
) -> CategoryScores:
    """Compares generated with given categories; case and spaces do not count.

    Args:
        free: (notes,), generated freely.
        constrained: (notes,), held to `known`.
        notes: with a category each.
        known: the list of categories; what is not in it is an illusion.
    """
    given = [hashtag_key(str(note.category)) for note in notes]
    listed = {hashtag_key(category) for category in known}
    return CategoryScores(
        accuracy=[float(hashtag_key(answer) == right) for answer, right in zip(free, given, strict=True)],
        illusion=[float(hashtag_key(answer) not in listed) for answer in free],
        constrained_accuracy=[float(hashtag_key(answer) == right) for answer, right in zip(constrained, given, strict=True)],
    )


def _one_of(choices: list[list[int]], width: int) -> Allowed:
    """What may follow is asked before each token."""

    def allowed(_: int, ids: torch.Tensor) -> list[int]:
        written = ids[width:].tolist()
        following = {
            choice[len(written)] for choice in choices if choice[: len(written)] == written and len(choice) > len(written)
        }
        return sorted(following) or [choices[0][-1]]

    return allowed
