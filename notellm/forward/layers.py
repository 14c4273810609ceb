"""`Layers`: the parts of a LLaMA that the custom forward pass calls, for any engine that holds the weights."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from transformers import LlamaModel

from notellm.forward.kernels import add_linear_, rms_norm, rotate_

Rotation = TypeVar("Rotation")


class Layers(Protocol[Rotation]):
    """The layers of a LLaMA. States are (T, E).

    Attributes:
        scaling: factor of the attention scores.
        device: the device that holds the weights.
    """

    scaling: float
    device: torch.device

    def __len__(self) -> int: ...

    def embed(self, ids: Tensor) -> Tensor:
        """The token embeddings of ids, (T,), as the states that enter the first layer."""
        ...

    def rotation(self, positions: Tensor) -> Rotation:
        """The rotary embedding for these positions, (T,). It is computed once for all layers."""
        ...

    def query_key_value(self, layer: int, states: Tensor, rotation: Rotation) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries, (H, T, D), rotated keys, (K, T, D), and values, (K, T, D)."""
        ...

    def finish(self, layer: int, states: Tensor, attended: Tensor) -> Tensor:
        """The part of a layer after its attention.

        Args:
            layer: number of the layer.
            states: (Q, E), those that entered the layer; they may be overwritten.
            attended: the result of the attention, (Q, H * D).

        Returns:
            The states that leave the layer, (Q, E).
        """
        ...

    def norm(self, states: Tensor) -> Tensor:
        """The norm after the last layer."""
        ...

    def logits(self, states: Tensor) -> Tensor:
        """The language-model head: states after the norm, (S, E), to scores, (S, vocabulary)."""
        ...


class TransformersLayers:
    """The layers of a transformers model. They are shared with the model, not copied.

    Args:
        backbone: the model without its head.
        head: the language-model head; only `logits` needs it.
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
        """Cosines and sines, (T, 1, D / 2): both halves of a head are rotated by the same angles."""
        both = self._backbone.rotary_emb(self._backbone.norm.weight, position_ids=positions[None])
        cosines, sines = (values[0, :, None, : values.shape[-1] // 2].contiguous() for values in both)
        return cosines, sines

    def query_key_value(self, layer: int, states: Tensor, rotation: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """See `Layers.query_key_value`."""
        block = self._layers[layer]
        attention, normed = block.self_attn, rms_norm(block.input_layernorm, states)
        query, key, value = (
            projection(normed).view(len(states), -1, attention.head_dim)
            for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        return rotate_(query, *rotation).transpose(0, 1), rotate_(key, *rotation).transpose(0, 1), value.transpose(0, 1)

    def finish(self, layer: int, states: Tensor, attended: Tensor) -> Tensor:
        """See `Layers.finish`."""
        block = self._layers[layer]
        states = add_linear_(states, block.self_attn.o_proj, attended)
        normed, mlp = rms_norm(block.post_attention_layernorm, states), block.mlp
        return add_linear_(states, mlp.down_proj, mlp.act_fn(mlp.gate_proj(normed)).mul_(mlp.up_proj(normed)))

    def norm(self, states: Tensor) -> Tensor:
        """See `Layers.norm`."""
        return rms_norm(self._backbone.norm, states)

    def logits(self, states: Tensor) -> Tensor:
        """See `Layers.logits`."""
        assert self._head is not None, "these layers were made without the language-model head"
        scores: Tensor = self._head(states)
        return scores
