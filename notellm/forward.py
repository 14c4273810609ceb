"""`PackedForward`: the forward pass over a `Pack` behind a cached prefix, written once for whoever holds a LLaMA's layers."""

from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor
from transformers import LlamaModel
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from notellm.attention import Prefix
from notellm.packing import Pack, Run

Rotation = TypeVar("Rotation")


class Layers(Protocol[Rotation]):
    """What the pass calls of a LLaMA. States are (tokens, hidden size)."""

    def __len__(self) -> int: ...

    def embed(self, ids: Tensor) -> Tensor:
        """The states that enter the first layer."""
        ...

    def rotation(self, positions: Tensor) -> Rotation:
        """What rotates queries and keys at these positions, (tokens,), made once for all layers."""
        ...

    def query_key_value(self, layer: int, states: Tensor, rotation: Rotation) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries, (heads, tokens, head size), and keys and values, (key-value heads, tokens, head size)."""
        ...

    def finish(self, layer: int, states: Tensor, attended: Tensor) -> Tensor:
        """The states that leave a layer, from those that entered it and (tokens, heads * head size)."""
        ...

    def norm(self, states: Tensor) -> Tensor:
        """The norm after the last layer."""
        ...


class TransformersLayers:
    """The layers of a transformers model, shared and not copied."""

    def __init__(self, backbone: LlamaModel) -> None:
        self._backbone = backbone
        self._layers: Sequence[Any] = list(backbone.layers)

    def __len__(self) -> int:
        return len(self._layers)

    def embed(self, ids: Tensor) -> Tensor:
        """See `Layers.embed`."""
        states: Tensor = self._backbone.embed_tokens(ids)
        return states

    def rotation(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines, (1, tokens, head size)."""
        cosines, sines = self._backbone.rotary_emb(self._backbone.norm.weight, position_ids=positions[None])
        return cosines, sines

    def query_key_value(self, layer: int, states: Tensor, rotation: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """See `Layers.query_key_value`."""
        block = self._layers[layer]
        attention, normed = block.self_attn, block.input_layernorm(states)
        by_head = (len(states), -1, attention.head_dim)
        query, key, value = (
            projection(normed).view(by_head).transpose(0, 1)[None]
            for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        query, key = apply_rotary_pos_emb(query, key, *rotation)
        return query[0], key[0], value[0]

    def finish(self, layer: int, states: Tensor, attended: Tensor) -> Tensor:
        """See `Layers.finish`."""
        block = self._layers[layer]
        states = states + block.self_attn.o_proj(attended)
        finished: Tensor = states + block.mlp(block.post_attention_layernorm(states))
        return finished

    def norm(self, states: Tensor) -> Tensor:
        """See `Layers.norm`."""
        normed: Tensor = self._backbone.norm(states)
        return normed


class PackedForward(Generic[Rotation]):
    """Last-layer states of the last token of each sequence of a pack.

    Nothing is padded, the prefix is computed once, and what lies behind the last layer's attention runs at those tokens only.

    Args:
        layers: of the model.
        prefix: its keys and values at what every sequence begins with.
        scaling: factor of the attention's scores.
    """

    def __init__(self, layers: Layers[Rotation], prefix: Prefix, scaling: float) -> None:
        self._layers = layers
        self._prefix = prefix
        self._scaling = scaling

    def __call__(self, pack: Pack) -> Tensor:
        """States after the final norm, (sequences, hidden size)."""
        layers = self._layers
        states = layers.embed(pack.input_ids[0])
        rotation = layers.rotation(pack.position_ids[0])
        for layer in range(len(layers)):
            query, key, value = layers.query_key_value(layer, states, rotation)
            at_end = layer == len(layers) - 1
            if at_end:
                query, states = query[:, pack.last], states[pack.last]
            attended = self._attend(layer, query, key, value, pack.runs, at_end=at_end)
            states = layers.finish(layer, states, attended)
        return layers.norm(states)

    def _attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, runs: Sequence[Run], *, at_end: bool) -> Tensor:
        before = self._prefix.keys[layer], self._prefix.values[layer]
        queries = query.split([run.count if at_end else run.count * run.length for run in runs], dim=1)
        lengths = [run.count * run.length for run in runs]
        parts = zip(runs, queries, key.split(lengths, dim=1), value.split(lengths, dim=1), strict=True)
        return torch.cat([attend_run(q, k, v, before, run.count, self._scaling) for run, q, k, v in parts])


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
