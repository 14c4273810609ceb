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
        keys, values: one (K, P, D) tensor per layer.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]

    @property
    def length(self) -> int:
        """P, the number of tokens of the prefix."""
        return self.keys[0].shape[1]


class PackedAttention(Protocol):
    """Attention of all sequences of a pack after one prefix. It reads the prefix's keys and values without copying them."""

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, prefix: tuple[Tensor, Tensor], pack: Pack, scaling: float, *,
        last_only: bool,
    ) -> Tensor:  # fmt: skip
        """Computes the attention of one layer.

        Args:
            query: (H, Q, D), rotated.
            key: (K, T, D), rotated.
            value: (K, T, D).
            prefix: keys and values of the prefix, (K, P, D) each.
            pack: which tokens belong to which sequence.
            scaling: factor of the scores.
            last_only: whether `query` has only the last token of each sequence (Q = S) instead of every token (Q = T).

        Returns:
            (Q, H * D).
        """
        ...


def attention_for(device: torch.device) -> PackedAttention:
    """Variable-length attention on GPUs that flash attention supports (Ampere and later); elsewhere `attention_by_run`."""
    known = device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device) >= FLASH_CAPABILITY
    return _varlen_in_half_precision if known else attention_by_run


def _varlen_in_half_precision(
    query: Tensor, key: Tensor, value: Tensor, prefix: tuple[Tensor, Tensor], pack: Pack, scaling: float, *, last_only: bool
) -> Tensor:
    """`varlen_attention` where flash attention has a kernel: not for float32, and only for some head sizes."""
    known = query.dtype in HALF_PRECISION and query.shape[-1] in FLASH_HEAD_SIZES
    attend = varlen_attention if known else attention_by_run
    return attend(query, key, value, prefix, pack, scaling, last_only=last_only)


def attention_by_run(
    query: Tensor, key: Tensor, value: Tensor, prefix: tuple[Tensor, Tensor], pack: Pack, scaling: float, *, last_only: bool
) -> Tensor:
    """`PackedAttention` for CPUs: computes sequences of equal length together, as matrix products.

    Raises:
        ValueError: the runs of the pack do not hold all of its tokens.
    """
    kv_heads, _, size = key.shape
    attended = query.new_empty(query.shape[1], kv_heads, len(query) // kv_heads, size)
    start = 0
    for run in pack.runs:
        end = start + run.count * (1 if last_only else run.length)
        own = key[:, run.start : run.end], value[:, run.start : run.end]
        attend_run(query[:, start:end], *own, prefix, run.count, scaling, out=attended[start:end])
        start = end
    if start != len(attended):
        raise ValueError(f"the runs of the pack hold {start} of {len(attended)} query tokens")
    return attended.flatten(1)


def attend_run(
    query: Tensor, key: Tensor, value: Tensor, prefix: tuple[Tensor, Tensor], count: int, scaling: float, *, out: Tensor,
    mask: Tensor | None = None,
) -> None:  # fmt: skip
    """Attention of the sequences of one `Run` after one prefix. It reads the prefix's keys and values without copying them.

    In the shapes, T and Q are those of the run, and S is `count`.

    Args:
        query: (H, Q, D), for the last Q / S tokens of each sequence: all of them, or one.
        key: (K, T, D).
        value: (K, T, D).
        prefix: keys and values of the prefix, (K, P, D) each.
        count: number of sequences.
        scaling: factor of the scores.
        out: where the result is written, (Q, K, H / K, D).
        mask: added to the scores of the run's own keys, (Q / S, 1, T / S); by default, tokens do not see later ones.
    """
    kv_heads, tokens, size = key.shape
    length, queries, group = tokens // count, query.shape[1] // count, len(query) // kv_heads
    prefix_keys, prefix_values = prefix
    prefix_length = prefix_keys.shape[1]
    # Queries of all heads that share a key-value head form one matrix: two products per key-value head instead of one per head.
    grouped = query.new_empty(kv_heads, count, queries, group, size)
    by_head = query.view(kv_heads, group, count, queries, size)
    torch.mul(by_head.permute(0, 2, 3, 1, 4), scaling, out=grouped)
    own_keys, own_values = (states.reshape(kv_heads, count, length, size) for states in (key, value))
    scores = query.new_empty(kv_heads, count, queries, group, prefix_length + length)
    on_prefix, on_own = scores.split([prefix_length, length], dim=-1)
    on_prefix.copy_((grouped.view(kv_heads, -1, size) @ prefix_keys.transpose(1, 2)).view_as(on_prefix))
    own_scores = (grouped.view(kv_heads, count, -1, size) @ own_keys.transpose(2, 3)).view_as(on_own)
    # Masks the scores and writes them to their place in one step.
    torch.add(own_scores, mask if mask is not None else _causal_mask(queries, length, query), out=on_own)
    weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
    to_own = weights.view(kv_heads, count, -1, prefix_length + length)[..., prefix_length:]
    attended = (to_own @ own_values).view(kv_heads, -1, size)
    attended.baddbmm_(weights.view(kv_heads, -1, prefix_length + length)[..., :prefix_length], prefix_values)
    out.view(count, queries, kv_heads, group, size).copy_(attended.view_as(grouped).permute(1, 2, 0, 3, 4))


def _causal_mask(queries: int, length: int, like: Tensor) -> Tensor:
    """A mask to add to the scores, (queries, 1, length): minus infinity for keys after the query token."""
    return torch.full((queries, length), -torch.inf, dtype=like.dtype, device=like.device).triu(length - queries + 1)[:, None]
