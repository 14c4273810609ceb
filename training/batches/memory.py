"""`MemoryPlan`: which notes' vectors of earlier batches a batch also has to tell apart (cross-batch memory, arXiv 1912.06798)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from training.batches.examples import Asked, GlobalBatch


class Remembered(NamedTuple):
    """What one batch reads from the memory, and where its own vectors go afterwards.

    Attributes:
        notes: the notes of earlier batches that are not in this one, each once.
        read: (notes,), the places of their latest vectors.
        write: (global examples,), the places of the batch's vectors, in rank order.
    """

    notes: tuple[str, ...]
    read: Tensor
    write: Tensor


class MemoryPlan:
    """The places of all vectors, which depend only on the plan of the batches: ranks agree, and a resumed run goes on, without messages.

    The memory is a ring. Batch after batch, each example takes the next place, and so the oldest batch is overwritten. It holds whole
    batches.

    Args:
        batches: the plan of the run; all batches have the same size.
        ranks: number of processes.
        size: most vectors to keep; 0 for no memory.
        hashtag_prompts: false does not read the vectors of hashtag prompts.
    """

    def __init__(self, batches: Sequence[GlobalBatch], *, ranks: int = 1, size: int = 0, hashtag_prompts: bool = True) -> None:
        batch = 2 * len(batches[0].first)
        self.size = size - size % batch
        self._batches = batches
        self._ranks = ranks
        self._hashtag_prompts = hashtag_prompts
        self._latest: dict[str, int] = {}  # by note, counted over the whole run
        self._known = self._written = 0  # batches and examples that `_latest` knows

    def __call__(self, step: int) -> Remembered | None:
        """What the batch of one step reads and writes; None without a memory."""
        if not self.size:
            return None
        if step < self._known:
            self._latest, self._known, self._written = {}, 0, 0
        for earlier in range(self._known, step):
            self._learn(self._examples(earlier))
        self._known = step
        examples = self._examples(step)
        present = {asked.note: place for place, asked in enumerate(examples, self._written)}
        oldest = self._written - self.size
        kept = {note: at for note, at in self._latest.items() if at >= oldest and note not in present}
        columns = (asked.note for rank in range(self._ranks) for asked in self._batches[step].shard(rank, self._ranks))
        write = torch.tensor([present[note] % self.size for note in columns])
        return Remembered(tuple(kept), torch.tensor([at % self.size for at in kept.values()], dtype=torch.long), write)

    def _learn(self, examples: tuple[Asked, ...]) -> None:
        for place, asked in enumerate(examples, self._written):
            if self._hashtag_prompts or asked.task != "hashtags":
                self._latest[asked.note] = place
        self._written += len(examples)

    def _examples(self, step: int) -> tuple[Asked, ...]:
        """Those of a batch in the order of their places, which does not depend on the number of processes."""
        batch = self._batches[step]
        return (*batch.first, *batch.second)
