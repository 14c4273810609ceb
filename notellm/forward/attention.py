"""Attention over a `Pack`: every sequence sees the shared prefix and itself, and nothing is padded."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from notellm.forward.packing import Pack
from notellm.forward.varlen import varlen_attention

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
    """`PackedAttention` for CPUs: the sequences of one length together.

    Raises:
        ValueError: the pack's runs are not its sequences.
    """
    kv_heads, _, size = key.shape
    attended = query.new_empty(query.shape[1], kv_heads, len(query) // kv_heads, size)
    start = 0
    for run in pack.runs:
        end = start + run.count * (1 if at_end else run.length)
        own = key[:, run.start : run.end], value[:, run.start : run.end]
        attend_run(query[:, start:end], *own, before, run.count, scaling, out=attended[start:end])
        start = end
    if start != len(attended):
        raise ValueError(f"the runs of the pack hold {start} asking tokens of {len(attended)}")
    return attended.flatten(1)


def attend_run(
    query: Tensor, key: Tensor, value: Tensor, before: tuple[Tensor, Tensor], count: int, scaling: float, *, out: Tensor
) -> None:
    """Attention of `count` equally long sequences behind one prefix, whose keys and values are read and not copied.

    Args:
        query: (heads, count * asking, head size); the asking tokens are the last ones of each sequence, all of them or one.
        key: (key-value heads, count * length, head size).
        value: as `key`.
        before: keys and values of the prefix, (key-value heads, prefix, head size).
        count: sequences.
        scaling: factor of the scores.
        out: (count * asking, key-value heads, heads a key-value head, head size), is filled.
    """
    kv_heads, tokens, size = key.shape
    length, asking, group = tokens // count, query.shape[1] // count, len(query) // kv_heads
    prefix_keys, prefix_values = before
    prefix = prefix_keys.shape[1]
    # Heads that share a key-value head stand below each other: two matrix products for each instead of one a head.
    grouped = query.new_empty(kv_heads, count, asking, group, size)
    by_head = query.view(kv_heads, group, count, asking, size)
    torch.mul(by_head.permute(0, 2, 3, 1, 4), scaling, out=grouped)
    own_keys, own_values = (states.reshape(kv_heads, count, length, size) for states in (key, value))
    scores = query.new_empty(kv_heads, count, asking, group, prefix + length)
    on_prefix, on_own = scores.split([prefix, length], dim=-1)
    on_prefix.copy_((grouped.view(kv_heads, -1, size) @ prefix_keys.transpose(1, 2)).view_as(on_prefix))
    own_scores = (grouped.view(kv_heads, count, -1, size) @ own_keys.transpose(2, 3)).view_as(on_own)
    # Masked on the way into their place.
    torch.add(own_scores, _ahead(asking, length, query), out=on_own)
    weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
    to_own = weights.view(kv_heads, count, -1, prefix + length)[..., prefix:]
    attended = (to_own @ own_values).view(kv_heads, -1, size)
    attended.baddbmm_(weights.view(kv_heads, -1, prefix + length)[..., :prefix], prefix_values)
    out.view(count, asking, kv_heads, group, size).copy_(attended.view_as(grouped).permute(1, 2, 0, 3, 4))


def _ahead(asking: int, length: int, like: Tensor) -> Tensor:
    """What is added to scores, (asking, 1, length): minus infinity for keys behind the asking token."""
    return torch.full((asking, length), -torch.inf, dtype=like.dtype, device=like.device).triu(length - asking + 1)[:, None]
