"""`tree_states`: many short continuations of several prompts in one pass, as a search over answers needs them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from notellm.forward.attention import Prefix, attend_run
from notellm.forward.layers import Layers, Rotation
from notellm.forward.packed import last_states

Ids = tuple[int, ...]


def tree_states(layers: Layers[Rotation], prefixes: Sequence[Prefix], trees: Sequence[Sequence[Ids]]) -> list[Tensor]:
    """The states after continuations of several prefixes. What continuations of one prefix begin with alike is computed once.

    Each token of a tree attends to its prefix, to the tokens before it in its own continuation, and to no other (tree attention, as in
    SpecInfer, arXiv 2305.09781).

    Args:
        layers: the model's layers.
        prefixes: computed prompts.
        trees: for each of them, continuations as token ids, each after everything that it begins with. None may be empty.

    Returns:
        For each prefix, the state of the last token of each continuation after the final norm, (continuations, E).
    """
    masks = [_mask(tree).to(layers.device) for tree in trees]

    def attend(layer: int, query: Tensor, key: Tensor, value: Tensor, *, last_only: bool) -> Tensor:
        del last_only  # all tokens are wanted
        attended = query.new_empty(query.shape[1], len(key), len(query) // len(key), query.shape[2])
        start = 0
        for prefix, mask in zip(prefixes, masks, strict=True):
            if not len(mask):
                continue
            own = slice(start, start + len(mask))
            before = prefix.keys[layer], prefix.values[layer]
            attend_run(
                query[:, own], key[:, own], value[:, own], before, 1, layers.scaling, mask=mask, out=attended[own]
            )  # fmt: skip
            start = own.stop
        return attended.flatten(1)

    continuations = [(prefix, ids) for prefix, tree in zip(prefixes, trees, strict=True) for ids in tree]
    states = last_states(
        layers,
        torch.tensor([ids[-1] for _, ids in continuations], device=layers.device),
        torch.tensor([prefix.length + len(ids) - 1 for prefix, ids in continuations], device=layers.device),
        slice(None),
        attend,
    )
    return list(states.split([len(tree) for tree in trees]))


def _mask(tree: Sequence[Ids]) -> Tensor:
    """A mask to add to scores, (tokens, 1, tokens): minus infinity where a token must not be seen."""
    places = {ids: place for place, ids in enumerate(tree)}
    rows, columns = [], []
    for ids, place in places.items():
        for end in range(1, len(ids) + 1):
            rows.append(place)
            columns.append(places[ids[:end]])
    mask = torch.full((len(tree), len(tree)), -torch.inf)
    mask[rows, columns] = 0
    return mask[:, None]
