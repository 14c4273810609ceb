"""`PackedForward`: the forward pass over a `Pack` after a cached prefix, for any engine that provides `Layers`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol

import torch
from torch import Tensor

from notellm.forward.attention import PackedAttention, Prefix, attention_for
from notellm.forward.layers import Layers, Rotation
from notellm.forward.packing import Pack


class PackedForward(Generic[Rotation]):
    """Computes the last-layer state of the last token of each sequence of a pack.

    Nothing is padded, and the prefix is computed only once. In the last layer, the queries and all later steps are computed only for
    those last tokens.

    Args:
        layers: the model's layers.
        prefix: their keys and values of the prefix that all sequences share.
        attention: computes attention over the packed sequences; by default `attention_for` the device.
    """

    def __init__(self, layers: Layers[Rotation], prefix: Prefix, attention: PackedAttention | None = None) -> None:
        self._layers = layers
        self._prefix = prefix
        self._attend = attention or attention_for(layers.device)

    def __call__(self, pack: Pack) -> Tensor:
        """Last-token states after the final norm, (S, E)."""

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor, *, last_only: bool) -> Tensor:
            prefix = self._prefix.keys[layer], self._prefix.values[layer]
            return self._attend(query, key, value, prefix, pack, self._layers.scaling, last_only=last_only)

        return last_states(self._layers, pack.input_ids[0], pack.position_ids[0], pack.last, attend)


class LayerAttention(Protocol):
    """Attention of one layer."""

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, *, last_only: bool) -> Tensor:
        """See `PackedAttention`."""
        ...


def last_states(
    layers: Layers[Rotation], input_ids: Tensor, position_ids: Tensor, last: Tensor | slice, attend: LayerAttention
) -> Tensor:
    """Runs all layers over tokens that lie end to end.

    Args:
        layers: the model's layers.
        input_ids: (T,).
        position_ids: (T,).
        last: the indices of the tokens whose states are wanted, (S,). In the last layer, only they are queries.
        attend: computes the attention; called once for each layer, in order.

    Returns:
        Their states after the final norm, (S, E).
    """
    states, rotation = layers.embed(input_ids), layers.rotation(position_ids)
    for layer in range(len(layers)):
        query, key, value = layers.query_key_value(layer, states, rotation)
        last_layer = layer == len(layers) - 1
        if last_layer:
            query, states = query[:, last], states[last]
        states = layers.finish(layer, states, attend(layer, query, key, value, last_only=last_layer))
    return layers.norm(states)


@dataclass(frozen=True)
class ReadPrefix:
    """A computed prefix, and the state of its last token after the final norm, (E,)."""

    prefix: Prefix
    state: Tensor


def read_prefix(layers: Layers[Rotation], ids: Sequence[int]) -> ReadPrefix:
    """Runs the layers over at least one id and keeps the keys and values."""
    pack = Pack.of([ids], 0, layers.device)
    attention = attention_for(layers.device)
    keys: list[Tensor] = []
    values: list[Tensor] = []

    def attend(layer: int, query: Tensor, key: Tensor, value: Tensor, *, last_only: bool) -> Tensor:
        keys.append(key.contiguous())
        values.append(value.contiguous())
        return attention(query, key, value, (key[:, :0], value[:, :0]), pack, layers.scaling, last_only=last_only)

    states = last_states(layers, pack.input_ids[0], pack.position_ids[0], slice(-1, None), attend)
    return ReadPrefix(Prefix(tuple(keys), tuple(values)), states[0])


@torch.inference_mode()
def log_probabilities(layers: Layers[Rotation], prompt: Sequence[int], tokens: Sequence[int]) -> list[float]:
    """Log-probabilities of tokens after a prompt of at least two ids. Its first half runs as a prefix, its second half as a pack."""
    half = len(prompt) // 2
    read = read_prefix(layers, prompt[:half])
    states = PackedForward(layers, read.prefix)(Pack.of([prompt[half:]], half, layers.device))
    found: list[float] = layers.logits(states).float().log_softmax(-1)[0, list(tokens)].tolist()
    return found
