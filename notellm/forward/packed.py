"""`PackedForward`: the forward pass over a `Pack` after a cached prefix, for any engine that provides `Layers`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic

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
        layers = self._layers
        states = layers.embed(pack.input_ids[0])
        rotation = layers.rotation(pack.position_ids[0])
        for layer in range(len(layers)):
            query, key, value = layers.query_key_value(layer, states, rotation)
            last_layer = layer == len(layers) - 1
            if last_layer:
                query, states = query[:, pack.last], states[pack.last]
            prefix = self._prefix.keys[layer], self._prefix.values[layer]
            attended = self._attend(query, key, value, prefix, pack, layers.scaling, last_only=last_layer)
            states = layers.finish(layer, states, attended)
        return layers.norm(states)


@dataclass(frozen=True)
class ReadPrefix:
    """A computed prefix, and the state of its last token after the final norm, (E,)."""

    prefix: Prefix
    state: Tensor


def read_prefix(layers: Layers[Rotation], ids: Sequence[int]) -> ReadPrefix:
    """Runs the layers over at least one id and keeps the keys and values."""
    pack = Pack.of([ids], 0, layers.device)
    attend = attention_for(layers.device)
    states, rotation = layers.embed(pack.input_ids[0]), layers.rotation(pack.position_ids[0])
    keys, values = [], []
    for layer in range(len(layers)):
        query, key, value = layers.query_key_value(layer, states, rotation)
        keys.append(key.contiguous())
        values.append(value.contiguous())
        last_layer = layer == len(layers) - 1
        if last_layer:
            query, states = query[:, -1:], states[-1:]
        no_prefix = key[:, :0], value[:, :0]
        attended = attend(query, key, value, no_prefix, pack, layers.scaling, last_only=last_layer)
        states = layers.finish(layer, states, attended)
    return ReadPrefix(Prefix(tuple(keys), tuple(values)), layers.norm(states)[0])


@torch.inference_mode()
def log_probabilities(layers: Layers[Rotation], prompt: Sequence[int], tokens: Sequence[int]) -> list[float]:
    """Log-probabilities of tokens after a prompt of at least two ids. Its first half runs as a prefix, its second half as a pack."""
    half = len(prompt) // 2
    read = read_prefix(layers, prompt[:half])
    states = PackedForward(layers, read.prefix)(Pack.of([prompt[half:]], half, layers.device))
    found: list[float] = layers.logits(states).float().log_softmax(-1)[0, list(tokens)].tolist()
    return found
