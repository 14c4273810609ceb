"""Attention over a `Pack`: every sequence sees the shared prefix and itself, and nothing is padded."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from notellm.packing import Pack
from notellm.varlen import varlen_attention

FLASH_CAPABILITY = (8, 0)
FLASH_HEAD_SIZES = range(8, 257, 8)
HALF_PRECISION = (torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Prefix:
    """Keys and values of the shared prefix.

    Attributes:
        keys, values: one (key-value heads, prefix tokens, head size) tensor a layer.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]

    @property
    def length(self) -> int:
        """Tokens of the prefix."""
        return self.keys[0].shape[1]


class PackedAttention(Protocol):
    """Attention of all sequences of a pack behind one prefix, whose keys and values are read and not copied."""

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, before: tuple[Tensor, Tensor], pack: Pack, scaling: float, *,
        at_end: bool,
    ) -> Tensor:  # fmt: skip
        """Attends.

        Args:
            query: (heads, asking tokens, head size), rotated.
            key: (key-value heads, tokens, head size), rotated.
            value: as `key`.
            before: keys and values of the prefix, (key-value heads, prefix, head size).
            pack: how the tokens fall into sequences.
            scaling: factor of the scores.
            at_end: only the last token of each sequence asks, instead of all.

        Returns:
            (asking tokens, heads * head size).
        """
        ...


def attention_for(device: torch.device) -> PackedAttention:
    """On a GPU that flash attention knows (Ampere and later) the one over variable lengths; elsewhere matrix products a length."""
    known = device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device) >= FLASH_CAPABILITY
    return _varlen_in_half_precision if known else attention_by_run


def _varlen_in_half_precision(
    query: Tensor, key: Tensor, value: Tensor, before: tuple[Tensor, Tensor], pack: Pack, scaling: float, *, at_end: bool
) -> Tensor:
    """Flash attention has no kernel for float32, nor for every head size."""
    known = query.dtype in HALF_PRECISION and query.shape[-1] in FLASH_HEAD_SIZES
    attend = varlen_attention if known else attention_by_run
    return attend(query, key, value, before, pack, scaling, at_end=at_end)


def attention_by_run(
    query: Tensor, key: Tensor, value: Tensor, before: tuple[Tensor, Tensor], pack: Pack, scaling: float, *, at_end: bool
) -> Tensor:
    """`PackedAttention` for CPUs: the sequences of one length together."""
    runs = pack.runs
    queries = query.split([run.count if at_end else run.count * run.length for run in runs], dim=1)
    lengths = [run.count * run.length for run in runs]
    parts = zip(runs, queries, key.split(lengths, dim=1), value.split(lengths, dim=1), strict=True)
    return torch.cat([attend_run(q, k, v, before, run.count, scaling) for run, q, k, v in parts])


def attend_run(query: Tensor, key: Tensor, value: Tensor, before: tuple[Tensor, Tensor], count: int, scaling: float) -> Tensor:
    """Attention of `count` equally long sequences behind one prefix, whose keys and values are read and not copied.

    Args:
        query: (heads, count * asking, head size); the asking tokens are the last ones of each sequence, all of them or one.
        key: (key-value heads, count * length, head size).
        value: as `key`.
        before: keys and values of the prefix, (key-value heads, prefix, head size).
        count: sequences.
        scaling: factor of the scores.

    Returns:
        (count * asking, heads * head size).
    """
    kv_heads, tokens, size = key.shape
    heads = len(query)
    length, asking = tokens // count, query.shape[1] // count
    prefix_keys, prefix_values = before
    # Heads that share a key-value head stand below each other: two matrix products for each instead of one a head.
    grouped = query.reshape(kv_heads, heads // kv_heads, count, asking, size).transpose(1, 2).reshape(kv_heads, count, -1, size)
    rows = grouped.shape[2]
    scores = torch.empty(kv_heads, count, rows, prefix_keys.shape[1] + length, dtype=query.dtype, device=query.device)
    on_prefix, on_own = scores.split([prefix_keys.shape[1], length], dim=-1)
    on_prefix.copy_((grouped.reshape(kv_heads, -1, size) @ prefix_keys.transpose(1, 2)).view(kv_heads, count, rows, -1))
    own_keys, own_values = (states.reshape(kv_heads, count, length, size) for states in (key, value))
    on_own.copy_(grouped @ own_keys.transpose(2, 3))
    if asking > 1:
        ahead = torch.ones(asking, length, dtype=torch.bool, device=query.device).triu(length - asking + 1)
        on_own.view(kv_heads, count, -1, asking, length).masked_fill_(ahead, -torch.inf)
    weights = (scores * scaling).float().softmax(-1).to(query.dtype)
    to_prefix, to_own = weights.split([prefix_keys.shape[1], length], dim=-1)
    attended = to_own @ own_values
    attended += (to_prefix.reshape(kv_heads, count * rows, -1) @ prefix_values).view_as(attended)
    by_head: Tensor = attended.view(kv_heads, count, heads // kv_heads, asking, size)
    return by_head.permute(1, 3, 0, 2, 4).reshape(count * asking, heads * size)
