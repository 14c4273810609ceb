"""Many prompts at once, what they begin with computed once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch
from torch import Tensor

from notellm.forward.attention import Prefix, attend_run
from notellm.forward.layers import Layers, Rotation
from notellm.forward.packed import ReadPrefix, last_states, read_prefix

# Sharing fewer ids than this costs more in forward passes than it saves.
LEAST_SHARED = 8


def read_prefixes(layers: Layers[Rotation], prompts: Sequence[Sequence[int]]) -> list[ReadPrefix]:
    """Runs the layers over several prompts and keeps the keys and values of each.

    What several prompts begin with is computed once: their instruction, and the note if two prompts ask about one. There is one pass for
    each level of such beginnings, with all prompts in it.

    Args:
        layers: the model's layers.
        prompts: token ids of at least one prompt; none may be empty.

    Returns:
        What `read_prefix` gives for each, in the order of the prompts.
    """
    if len(prompts) == 1:
        return [read_prefix(layers, prompts[0])]
    read: dict[int, ReadPrefix] = {}
    for level in _levels(prompts):
        sequences = [_Sequence(node.ids, node.before.prefix if node.before else None) for node in level]
        for node, found in zip(level, _run(layers, sequences), strict=True):
            node.read = found
            read |= dict.fromkeys(node.prompts, found)
    return [read[index] for index in range(len(prompts))]


@dataclass(eq=False)
class _Node:
    """Ids that several prompts share after what they share already, or the rest of one prompt.

    Attributes:
        ids: the ids.
        before: what comes before them.
        prompts: the indices of the prompts that end here.
        read: the result, once it is computed.
    """

    ids: Sequence[int]
    before: "_Node | None"
    prompts: list[int] = field(default_factory=list)
    read: ReadPrefix | None = None

    @property
    def prefix(self) -> Prefix:
        assert self.read is not None, "levels are computed in order"
        return self.read.prefix


def _levels(prompts: Sequence[Sequence[int]]) -> Iterator[list[_Node]]:
    """The nodes of all prompts, each level after the one that it needs."""
    growing: list[tuple[list[int], int, _Node | None]] = [(list(range(len(prompts))), 0, None)] if prompts else []
    while growing:
        level: list[_Node] = []
        following: list[tuple[list[int], int, _Node | None]] = []
        for members, start, before in growing:
            for node, rest in _grow(prompts, members, start, before):
                level.append(node)
                if rest:
                    following.append((rest, start + len(node.ids), node))
        yield level
        growing = following


def _grow(
    prompts: Sequence[Sequence[int]], members: list[int], start: int, before: _Node | None
) -> Iterator[tuple[_Node, list[int]]]:
    """The nodes that begin at `start`, each with the prompts that go on after it."""
    end = start + _shared(prompts, members, start)
    ending = [index for index in members if len(prompts[index]) == end]
    if end - start >= LEAST_SHARED or len(ending) == len(members):
        yield _Node(prompts[members[0]][start:end], before, ending), [index for index in members if len(prompts[index]) > end]
        return

    def following(index: int) -> int:
        return prompts[index][end] if len(prompts[index]) > end else -1

    # They share too little. Those that go on alike share more; all of them compute these few ids again.
    for _, alike in groupby(sorted(members, key=following), key=following):
        yield from _grow(prompts, list(alike), start, before)


def _shared(prompts: Sequence[Sequence[int]], members: list[int], start: int) -> int:
    """The number of ids from `start` that all of the prompts have in common."""
    first, longest = prompts[members[0]], min(len(prompts[index]) for index in members)
    return next(
        (at - start for at in range(start, longest) if any(prompts[i][at] != first[at] for i in members)), longest - start
    )


@dataclass(frozen=True)
class _Sequence:
    """Ids to compute after a prefix, or after nothing."""

    ids: Sequence[int]
    prefix: Prefix | None

    @property
    def start(self) -> int:
        """The position of the first id."""
        return self.prefix.length if self.prefix else 0


@dataclass(frozen=True)
class _Piece:
    """Neighbouring sequences of equal length after the same prefix: `count` sequences of `length` tokens from `start`."""

    prefix: Prefix | None
    start: int
    count: int
    length: int

    @property
    def tokens(self) -> slice:
        """Where its tokens are."""
        return slice(self.start, self.start + self.count * self.length)


def _run(layers: Layers[Rotation], sequences: Sequence[_Sequence]) -> list[ReadPrefix]:
    """Runs the layers over all sequences in one pass."""
    order = sorted(range(len(sequences)), key=lambda index: (id(sequences[index].prefix), len(sequences[index].ids)))
    laid = [sequences[index] for index in order]
    pieces: list[_Piece] = []
    total = 0
    for (_, length), group in groupby(laid, key=lambda one: (id(one.prefix), len(one.ids))):
        members = list(group)
        pieces.append(_Piece(members[0].prefix, total, len(members), length))
        total += len(members) * length
    ends = torch.tensor([len(one.ids) for one in laid]).cumsum(0)
    keys: list[Tensor] = []
    values: list[Tensor] = []

    def attend(layer: int, query: Tensor, key: Tensor, value: Tensor, *, last_only: bool) -> Tensor:
        keys.append(key)
        values.append(value)
        return _attend(layer, (query, key, value), pieces, layers.scaling, last_only=last_only)

    states = last_states(
        layers,
        torch.tensor([token for one in laid for token in one.ids], device=layers.device),
        torch.cat([torch.arange(one.start, one.start + len(one.ids)) for one in laid]).to(layers.device),
        (ends - 1).to(layers.device),
        attend,
    )
    found: dict[int, ReadPrefix] = {}
    for place, (index, one, end) in enumerate(zip(order, laid, ends.tolist(), strict=True)):
        own = slice(end - len(one.ids), end)
        before = (one.prefix.keys, one.prefix.values) if one.prefix else (None, None)
        joined = (_joined(of_prefix, computed, own) for of_prefix, computed in zip(before, (keys, values), strict=True))
        found[index] = ReadPrefix(Prefix(*joined), states[place])
    return [found[index] for index in range(len(sequences))]


def _joined(before: Sequence[Tensor] | None, computed: Sequence[Tensor], own: slice) -> tuple[Tensor, ...]:
    """The keys, or the values, of a sequence after those of its prefix, one tensor per layer."""
    if before is None:
        return tuple(states[:, own].contiguous() for states in computed)
    return tuple(torch.cat([first, states[:, own]], dim=1) for first, states in zip(before, computed, strict=True))


def _attend(
    layer: int, states: tuple[Tensor, Tensor, Tensor], pieces: Sequence[_Piece], scaling: float, *, last_only: bool
) -> Tensor:
    """Attention of one layer, each piece after its own prefix: (Q, H * D)."""
    query, key, value = states
    kv_heads, _, size = key.shape
    attended = query.new_empty(query.shape[1], kv_heads, len(query) // kv_heads, size)
    start = 0
    for piece in pieces:
        end = start + piece.count * (1 if last_only else piece.length)
        prefix = (piece.prefix.keys[layer], piece.prefix.values[layer]) if piece.prefix else (key[:, :0], value[:, :0])
        own = key[:, piece.tokens], value[:, piece.tokens]
        attend_run(query[:, start:end], *own, prefix, piece.count, scaling, out=attended[start:end])
        start = end
    return attended.flatten(1)
