"""`Layers`: what the custom forward pass calls of a LLaMA, whoever holds its weights."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from transformers import LlamaModel
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

Rotation = TypeVar("Rotation")


class Layers(Protocol[Rotation]):
    """The layers of a LLaMA. States are (tokens, hidden size).

    Attributes:
        scaling: factor of the attention's scores.
        device: where the weights are.
    """

    scaling: float
    device: torch.device

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

    def logits(self, states: Tensor) -> Tensor:
        """The language-model head, after the norm: (tokens, vocabulary)."""
        ...


class TransformersLayers:
    """The layers of a transformers model, shared and not copied.

    Args:
        backbone: the model without its head.
        head: the language-model head, where one is needed.
    """

    def __init__(self, backbone: LlamaModel, head: torch.nn.Module | None = None) -> None:
        self._backbone = backbone
        self._head = head
        self._layers: Sequence[Any] = list(backbone.layers)
        self.scaling = float(self._layers[0].self_attn.scaling)
        self.device: torch.device = backbone.device

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

    def logits(self, states: Tensor) -> Tensor:
        """See `Layers.logits`."""
        assert self._head is not None, "these layers were made without the language-model head"
        scores: Tensor = self._head(states)
        return scores
