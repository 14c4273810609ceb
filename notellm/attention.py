"""Attention over a `Pack`: every sequence sees the shared prefix and itself, and nothing is padded."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface

from notellm.packing import Pack

RAGGED_ATTENTION = "notellm_ragged"


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


def ragged_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    *,
    pack: Pack,
    prefix: Prefix,
    **_: object,
) -> tuple[Tensor, None]:
    """An attention function of transformers' `AttentionInterface`.

    Args:
        module: the attention layer; its `layer_idx` picks the prefix.
        query: (1, heads, tokens, head size), rotated.
        key: (1, key-value heads, tokens, head size), rotated.
        value: (1, key-value heads, tokens, head size).
        attention_mask: not used, the pack says which tokens belong together.
        scaling: factor of the scores.
        pack: how the tokens fall into sequences.
        prefix: what comes before each of them.

    Returns:
        (1, tokens, heads, head size), and no weights.
    """
    heads, head_size = query.shape[1], query.shape[3]
    output = torch.empty((query.shape[2], heads, head_size), dtype=query.dtype, device=query.device)
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    for run in pack.runs:
        end = run.start + run.count * run.length
        q, k, v = (_by_sequence(states[0, :, run.start : end], run.count) for states in (query, key, value))
        k = torch.cat([prefix.keys[layer].expand(run.count, -1, -1, -1), k], dim=2)
        v = torch.cat([prefix.values[layer].expand(run.count, -1, -1, -1), v], dim=2)
        mask = _causal_mask(run.length, prefix.length, query.device)
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling, enable_gqa=True)
        output[run.start : end] = attended.transpose(1, 2).reshape(-1, heads, head_size)
    return output[None], None


def _by_sequence(states: Tensor, count: int) -> Tensor:
    """(heads, count * length, head size) → (count, heads, length, head size)."""
    heads, tokens, head_size = states.shape
    return states.reshape(heads, count, tokens // count, head_size).transpose(0, 1)


def _causal_mask(length: int, prefix_length: int, device: torch.device) -> Tensor:
    """(length, prefix + length) of booleans: the prefix is seen whole, the sequence up to the asking token."""
    return torch.ones(length, prefix_length + length, dtype=torch.bool, device=device).tril(prefix_length)


AttentionInterface.register(RAGGED_ATTENTION, ragged_attention)
