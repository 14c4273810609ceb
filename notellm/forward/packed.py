"""`PackedForward`: the forward pass over a `Pack` behind a cached prefix, written once for whoever holds a LLaMA's layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic

import torch
from torch import Tensor

from notellm.forward.attention import PackedAttention, Prefix, attention_for
from notellm.forward.layers import Layers, Rotation
from notellm.forward.packing import Pack


class PackedForward(Generic[Rotation]):
    """Last-layer states of the last token of each sequence of a pack.

    Nothing is padded, the prefix is computed once, and what lies behind the last layer's attention runs at those tokens only.

    Args:
        layers: of the model.
        prefix: its keys and values at what every sequence begins with.
        attention: over the packed sequences; the one that suits the device if None.
    """

    def __init__(self, layers: Layers[Rotation], prefix: Prefix, attention: PackedAttention | None = None) -> None:
        self._layers = layers
        self._prefix = prefix
        self._attend = attention or attention_for(layers.device)

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
            before = self._prefix.keys[layer], self._prefix.values[layer]
            attended = self._attend(query, key, value, before, pack, layers.scaling, at_end=at_end)
            states = layers.finish(layer, states, attended)
        return layers.norm(states)


@dataclass(frozen=True)
class ReadPrefix:
    """A prefix that was read, and the state of its last token after the final norm, (hidden size,)."""

    prefix: Prefix
    state: Tensor


def read_prefix(layers: Layers[Rotation], ids: Sequence[int]) -> ReadPrefix:
    """Runs the layers over ids, at least one, and keeps their keys and values."""
    pack = Pack.of([ids], 0, layers.device)
    attend = attention_for(layers.device)
    states, rotation = layers.embed(pack.input_ids[0]), layers.rotation(pack.position_ids[0])
    keys, values = [], []
    for layer in range(len(layers)):
        query, key, value = layers.query_key_value(layer, states, rotation)
        keys.append(key.contiguous())
        values.append(value.contiguous())
        if layer == len(layers) - 1:
            query, states = query[:, -1:], states[-1:]
        nothing = key[:, :0], value[:, :0]
        attended = attend(query, key, value, nothing, pack, layers.scaling, at_end=layer == len(layers) - 1)
        states = layers.finish(layer, states, attended)
    return ReadPrefix(Prefix(tuple(keys), tuple(values)), layers.norm(states)[0])


@torch.inference_mode()
def log_probabilities(layers: Layers[Rotation], prompt: Sequence[int], tokens: Sequence[int]) -> list[float]:
    """Of tokens after a prompt of at least two: its first half is read as a prefix, its second half packed."""
    half = len(prompt) // 2
    read = read_prefix(layers, prompt[:half])
    states = PackedForward(layers, read.prefix)(Pack.of([prompt[half:]], half, layers.device))
    found: list[float] = layers.logits(states).float().log_softmax(-1)[0, list(tokens)].tolist()
    return found
