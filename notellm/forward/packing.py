"""`Pack`: prompts of different lengths, laid end to end after one shared prefix, without padding."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from operator import itemgetter

import torch
from torch import Tensor


def token_batches(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Sorts prompts by length, shortest first, and yields their indices in batches of at most `max_tokens` tokens.

    A prompt that is longer than the limit gets its own batch.
    """
    batch: list[int] = []
    tokens = 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and tokens + lengths[index] > max_tokens:
            yield batch
            batch, tokens = [], 0
        batch.append(index)
        tokens += lengths[index]
    if batch:
        yield batch


def even_batches(lengths: Sequence[int], max_tokens: int, lanes: int) -> list[list[int]]:
    """Like `token_batches`, but batches have about the same number of tokens, so that all lanes finish at about the same time.

    Args:
        lengths: tokens of each prompt.
        max_tokens: most tokens of a batch, unless a single prompt is longer.
        lanes: number of batches that are computed at the same time. The number of batches is a multiple of it if the prompts allow it.

    Returns:
        The prompts' indices in batches, the batch with the most tokens first.
    """
    total, order = sum(lengths), sorted(range(len(lengths)), key=lengths.__getitem__)
    ends = list(accumulate(lengths[index] for index in order))
    for count in itertools.count(lanes * math.ceil(total / (lanes * max_tokens)), lanes):
        # Cut all tokens into `count` equal shares. A prompt belongs to the share that contains its middle.
        shares = [int((end - lengths[index] / 2) * count / total) for index, end in zip(order, ends, strict=True)]
        batches = [[index for index, _ in group] for _, group in groupby(zip(order, shares, strict=True), key=itemgetter(1))]
        tokens = [sum(lengths[index] for index in batch) for batch in batches]
        if all(len(batch) == 1 or found <= max_tokens for batch, found in zip(batches, tokens, strict=True)):
            break
    return [batch for _, batch in sorted(zip(tokens, batches, strict=True), reverse=True)]


@dataclass(frozen=True)
class Run:
    """Neighbouring sequences of equal length in a pack: `count` sequences of `length` tokens from `start`.

    If the same row also holds the opening that they share, it is the `prefix_length` tokens from `prefix_start`.
    """

    start: int
    count: int
    length: int
    prefix_start: int = 0
    prefix_length: int = 0

    @property
    def end(self) -> int:
        """Where the next run starts."""
        return self.start + self.count * self.length


@dataclass(frozen=True)
class Pack:
    """A batch as one row.

    Attributes:
        input_ids: (1, T), the sequences end to end, without their shared prefix.
        position_ids: (1, T), in each sequence counted on from the end of the prefix.
        last: (S,), the index of each sequence's last token.
        starts: (S + 1,) int32, the index of each sequence's first token, then T.
        runs: the sequences, grouped by length.
        longest: tokens of the longest sequence, or more: kernels for variable lengths use it as an upper bound.
    """

    input_ids: Tensor
    position_ids: Tensor
    last: Tensor
    starts: Tensor
    runs: tuple[Run, ...]
    longest: int

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]], prefix_length: int, device: torch.device) -> "Pack":
        """Packs sequences that are sorted by length; none may be empty."""
        lengths = torch.tensor([len(sequence) for sequence in sequences])
        ids = torch.tensor([token for sequence in sequences for token in sequence])
        positions = torch.cat([torch.arange(prefix_length, prefix_length + n) for n in lengths.tolist()])
        runs, start = [], 0
        for length, group in groupby(lengths.tolist()):
            run = Run(start, sum(1 for _ in group), length)
            runs.append(run)
            start += run.count * run.length
        starts = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        return cls(
            _on(device, ids[None]), _on(device, positions[None]), _on(device, starts[1:] - 1), _on(device, starts.to(torch.int32)),
            runs=tuple(runs), longest=runs[-1].length,
        )  # fmt: skip


def _on(device: torch.device, values: Tensor) -> Tensor:
    """The values on the device. They are copied to a GPU from pinned memory, without waiting for what the GPU still computes."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)
