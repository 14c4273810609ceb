"""Continuations of several prompts in one pass, against the plain model, one sequence at a time."""

import random

import pytest
import torch

from notellm import Checkpoint
from notellm.forward.layers import TransformersLayers
from notellm.forward.packed import read_prefix
from notellm.forward.trees import Ids, tree_states

PROMPTS = [[5, 17, 300, 42, 8, 9, 33], [7], [5, 17, 300, 2]]


@pytest.fixture(scope="module")
def layers(tiny: Checkpoint) -> TransformersLayers:
    return TransformersLayers(tiny.load_model().causal_lm.model)


def plain(tiny: Checkpoint, ids: list[int]) -> torch.Tensor:
    state: torch.Tensor = tiny.load_model().causal_lm.model(torch.tensor([ids]), use_cache=False).last_hidden_state[0, -1]
    return state


def drawn(seed: int, paths: int) -> list[Ids]:
    """Random continuations of few different tokens, so that many begin alike, each after what it begins with."""
    draw = random.Random(seed)
    found = [tuple(draw.randrange(3, 6) for _ in range(draw.randint(1, 4))) for _ in range(paths)]
    return list(dict.fromkeys(ids[:end] for ids in found for end in range(1, len(ids) + 1)))


@torch.inference_mode()
def test_each_continuation_is_as_if_it_were_alone(tiny: Checkpoint, layers: TransformersLayers) -> None:
    trees = [drawn(1, 6), drawn(2, 1), drawn(3, 9)]
    assert len(trees[2]) < sum(map(len, trees[2]))
    found = tree_states(layers, [read_prefix(layers, ids).prefix for ids in PROMPTS], trees)
    assert [len(states) for states in found] == [len(tree) for tree in trees]
    for prompt, tree, states in zip(PROMPTS, trees, found, strict=True):
        for ids, state in zip(tree, states, strict=True):
            torch.testing.assert_close(state, plain(tiny, [*prompt, *ids]), rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_a_prompt_may_have_no_continuations(tiny: Checkpoint, layers: TransformersLayers) -> None:
    prefixes = [read_prefix(layers, ids).prefix for ids in PROMPTS]
    none, some, nothing = tree_states(layers, prefixes, [[], [(1,), (1, 2)], []])
    assert (len(none), len(some), len(nothing)) == (0, 2, 0)
    torch.testing.assert_close(some[1], plain(tiny, [*PROMPTS[1], 1, 2]), rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_a_continuation_does_not_see_others(layers: TransformersLayers) -> None:
    prefix = read_prefix(layers, PROMPTS[0]).prefix
    (alone,) = tree_states(layers, [prefix], [[(4,), (4, 9)]])
    (beside,) = tree_states(layers, [prefix], [[(4,), (4, 8), (4, 8, 1), (4, 9), (5,)]])
    torch.testing.assert_close(beside[[0, 3]], alone, rtol=1e-4, atol=1e-5)
