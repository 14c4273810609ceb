"""Attention over packed sequences for training. The shared prefixes are part of the row, so that gradients reach them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface

from notellm.forward import Run

SHARED_PREFIX_ATTENTION = "notellm_shared_prefix"


def shared_prefix_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    *,
    runs: Sequence[Run],
    **_: object,
) -> tuple[Tensor, None]:
    """An attention function for transformers' `AttentionInterface`.

    Args:
        module: not used.
        query: (1, heads, tokens, head size), rotated.
        key: (1, key-value heads, tokens, head size), rotated.
        value: as `key`.
        attention_mask: not used; the runs say which tokens belong together.
        scaling: factor of the scores.
        runs: sequences and prefixes in the order of the row, without gaps.

    Returns:
        (1, tokens, heads, head size), and None instead of attention weights.
    """
    parts = _by_run((query, key, value), runs)
    by_start = {run.start: own for run, own in zip(runs, parts, strict=True)}
    attended = []
    for run, own in zip(runs, parts, strict=True):
        _query, keys, values = by_start[run.prefix_start if run.prefix_length else run.start]
        prefix = keys[:, : run.prefix_length], values[:, : run.prefix_length]
        attended.append(_attend(run, own, prefix, scaling))
    return torch.cat(attended)[None], None


def _by_run(states: tuple[Tensor, Tensor, Tensor], runs: Sequence[Run]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """The states of each run, (heads, tokens, head size). One split, because a slice per run would make a full gradient per run."""
    lengths = [run.end - run.start for run in runs]
    return list(zip(*(one[0].split(lengths, dim=1) for one in states), strict=True))


def _attend(run: Run, own: tuple[Tensor, Tensor, Tensor], prefix: tuple[Tensor, Tensor], scaling: float) -> Tensor:
    """Attention of one run after the keys and values of its prefix: (tokens, heads, head size)."""
    q, k, v = (_by_sequence(states, run.count) for states in own)
    k, v = (torch.cat([shared.expand(run.count, -1, -1, -1), own], dim=2) for shared, own in zip(prefix, (k, v), strict=True))
    mask = _causal_mask(run.length, prefix[0].shape[1], q.device)
    attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling, enable_gqa=True)
    return attended.transpose(1, 2).flatten(0, 1)


def _by_sequence(states: Tensor, count: int) -> Tensor:
    """(heads, count * length, head size) → (count, heads, length, head size)."""
    heads, tokens, head_size = states.shape
    return states.reshape(heads, count, tokens // count, head_size).transpose(0, 1)


def _causal_mask(length: int, prefix_length: int, device: torch.device) -> Tensor:
    """(length, prefix + length), booleans: a token sees the whole prefix, and its sequence up to itself."""
    return torch.ones(length, prefix_length + length, dtype=torch.bool, device=device).tril(prefix_length)


AttentionInterface.register(SHARED_PREFIX_ATTENTION, shared_prefix_attention)
