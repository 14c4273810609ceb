"""`TrainingBatch`: one process's share of a global batch, as padded or packed tensors."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from notellm.forward import Run
from notellm.note import Note
from notellm.prompt import NotePrompt, TokenizedNote, TrainingExample
from notellm.token_vectors import Bags, TokenTerms
from training.batches.contrast import Contrast, Contrasts
from training.batches.examples import Asked, GlobalBatch
from training.batches.memory import MemoryPlan, Remembered


@dataclass(frozen=True)
class TokenRows:
    """Examples as rows of tokens. Positions are indices into all rows joined into one.

    Attributes:
        input_ids, position_ids: (rows, tokens).
        attention_mask: (rows, tokens), 0 on padding; None if packed.
        runs: the sequences of a packed row; None if padded.
        embedding_at: (examples,), positions of the hidden states that become embeddings.
        predict_at: (output tokens,), positions whose next token is an output token.
        output_ids: (output tokens,).
        bags: the terms of the notes' own tokens; None without token vectors.
    """

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor | None
    runs: tuple[Run, ...] | None
    embedding_at: Tensor
    predict_at: Tensor
    output_ids: Tensor
    bags: Bags | None = None

    @property
    def tokens(self) -> int:
        """Number of tokens that are computed, including padding."""
        return self.input_ids.numel()

    def to(self, device: torch.device) -> "TokenRows":
        """The same rows on another device."""
        moved: dict[str, Any] = {
            name: value.to(device) if isinstance(value, Tensor | Bags) else value for name, value in vars(self).items()
        }
        return TokenRows(**moved)

    @classmethod
    def padded(cls, examples: Sequence[TrainingExample], pad_id: int) -> "TokenRows":
        """One row per example, padded on the right to the longest."""
        longest = max(len(example.ids) for example in examples)
        ids = torch.full((len(examples), longest), pad_id)
        for row, example in enumerate(examples):
            ids[row, : len(example.ids)] = torch.tensor(example.ids)
        lengths = torch.tensor([len(example.ids) for example in examples])
        positions = torch.arange(longest).expand_as(ids)
        starts = [row * longest for row in range(len(examples))]
        return cls(ids, positions, (positions < lengths[:, None]).long(), None, *_targets(examples, starts))

    @classmethod
    def packed(cls, examples: Sequence[TrainingExample]) -> "TokenRows":
        """One row without padding: each opening once, followed by the examples that start with it, sorted by length."""
        ids: list[int] = []
        positions: list[int] = []
        runs: list[Run] = []
        starts = [0] * len(examples)
        order = sorted(range(len(examples)), key=lambda index: (_opening(examples[index]), len(examples[index].ids)))
        for opening, family in groupby(order, key=lambda index: _opening(examples[index])):
            prefix = Run(len(ids), 1, len(opening))
            ids += opening
            positions += range(len(opening))
            runs.append(prefix)
            for length, group in groupby(family, key=lambda index: len(examples[index].ids)):
                members = list(group)
                runs.append(Run(len(ids), len(members), length - len(opening), prefix.start, prefix.length))
                for index in members:
                    starts[index] = len(ids) - len(opening)
                    ids += examples[index].ids[len(opening) :]
                    positions += range(len(opening), length)
        return cls(torch.tensor([ids]), torch.tensor([positions]), None, tuple(runs), *_targets(examples, starts))


@dataclass(frozen=True)
class TrainingBatch:
    """What one process computes in one step.

    Attributes:
        step: the number of the global batch.
        chunks: the examples, those of the pairs' first notes before those of the second notes, cut into chunks to save memory.
        contrast: what the examples have to find.
        remembered: what the batch reads from the memory of earlier batches, and where its own vectors go; None without a memory.
    """

    step: int
    chunks: tuple[TokenRows, ...]
    contrast: Contrast
    remembered: Remembered | None = None

    def chunk_slice(self, index: int) -> slice:
        """The examples of one chunk."""
        start = sum(len(chunk.embedding_at) for chunk in self.chunks[:index])
        return slice(start, start + len(self.chunks[index].embedding_at))

    def to(self, device: torch.device) -> "TrainingBatch":
        """The same batch on another device."""
        return replace(self, chunks=tuple(chunk.to(device) for chunk in self.chunks), contrast=self.contrast.to(device))


class Collator:
    """Turns global batches into the tensors of one process.

    Args:
        notes: the notes by id.
        prompt: turns notes into token ids.
        contrasts: knows what the notes of a batch have to find.
        rank, ranks: this process and the number of processes.
        packed: pack the examples (CPU) instead of padding them (GPU).
        chunk_examples: examples per forward pass; the loss is still that of the whole batch (GradCache).
        pad_id: id of the pad token.
        terms: the terms of the token vectors, if the model has any.
        memory: what each batch remembers of the batches before it.
    """

    def __init__(
        self, notes: dict[str, Note], prompt: NotePrompt, contrasts: Contrasts, *,
        rank: int = 0, ranks: int = 1, packed: bool = False, chunk_examples: int | None = None, pad_id: int = 0,
        terms: TokenTerms | None = None, memory: MemoryPlan | None = None,
    ) -> None:  # fmt: skip
        self._notes = notes
        self._prompt = prompt
        self._contrasts = contrasts
        self._rank, self._ranks = rank, ranks
        self._packed = packed
        self._chunk = chunk_examples
        self._pad_id = pad_id
        self._terms = terms
        self._memory = memory
        self._tokenized: dict[str, TokenizedNote] = {}

    def __call__(self, step: int, batch: GlobalBatch) -> TrainingBatch:
        """This process's share of a global batch."""
        examples = [self.example(asked) for asked in batch.shard(self._rank, self._ranks)]
        size = self._chunk or len(examples)
        chunks = (examples[start : start + size] for start in range(0, len(examples), size))
        remembered = self._memory(step) if self._memory else None
        contrast = self._contrasts(batch, self._rank, self._ranks, remembered.notes if remembered else ())
        return TrainingBatch(step, tuple(map(self.rows, chunks)), contrast, remembered)

    def rows(self, examples: Sequence[TrainingExample]) -> TokenRows:
        """The examples packed or padded."""
        rows = TokenRows.packed(examples) if self._packed else TokenRows.padded(examples, self._pad_id)
        if self._terms is None:
            return rows
        return replace(rows, bags=self._terms.bags([one.ids[one.opening : one.embedding + 1] for one in examples]))

    def example(self, asked: Asked) -> TrainingExample:
        """Prompt and answer of one note. The prompt does not contain the `#tag` markup of the hashtags to generate."""
        note = self._notes[asked.note]
        if asked.note not in self._tokenized:
            self._tokenized[asked.note] = self._prompt.tokenize([note])[0]
        tokenized = self._tokenized[asked.note]
        if asked.task == "hashtags":
            return self._prompt.hashtags_example(tokenized, asked.hashtags)
        if asked.task == "category" and note.category is not None:
            return self._prompt.category_example(tokenized, note.category)
        return self._prompt.embedding_example(tokenized)


def _opening(example: TrainingExample) -> tuple[int, ...]:
    return example.ids[: example.opening]


def _targets(examples: Sequence[TrainingExample], starts: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """`embedding_at`, `predict_at` and `output_ids` of examples; `starts` is where the first id of each would be."""
    embedding_at = [start + example.embedding for example, start in zip(examples, starts, strict=True)]
    predict_at: list[int] = []
    output_ids: list[int] = []
    for example, start in zip(examples, starts, strict=True):
        predict_at += range(start + example.output - 1, start + len(example.ids) - 1)
        output_ids += example.ids[example.output :]
    return torch.tensor(embedding_at), torch.tensor(predict_at, dtype=torch.long), torch.tensor(output_ids, dtype=torch.long)
