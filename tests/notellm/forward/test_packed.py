"""The custom forward pass against plain attention, written out, and against the plain model."""

from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import DynamicCache

from notellm import Checkpoint
from notellm.forward.attention import attend_run
from notellm.forward.layers import TransformersLayers
from notellm.forward.packed import PackedForward, read_prefix
from notellm.forward.packing import Pack

HEADS, KV_HEADS, SIZE = 6, 2, 8


def plain(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Causal attention of one sequence, (heads, tokens, head size) each: (tokens, heads * head size)."""
    key, value = (states.repeat_interleave(HEADS // KV_HEADS, dim=0) for states in (key, value))
    attended = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=torch.ones(query.shape[1], key.shape[1]).tril(key.shape[1] - query.shape[1]).bool()
    )
    return attended.transpose(0, 1).flatten(1)


@pytest.mark.parametrize("prefix", [0, 1, 7])
@pytest.mark.parametrize(("count", "length"), [(1, 1), (1, 5), (3, 1), (4, 6)])
@pytest.mark.parametrize("only_last", [False, True])
def test_attention_of_a_run_is_that_of_each_sequence(prefix: int, count: int, length: int, only_last: bool) -> None:
    torch.manual_seed(0)
    query = torch.randn(HEADS, count * length, SIZE)
    key, value = torch.randn(2, KV_HEADS, count * length, SIZE)
    before = torch.randn(KV_HEADS, prefix, SIZE), torch.randn(KV_HEADS, prefix, SIZE)
    expected = []
    for start in range(0, count * length, length):
        own = slice(start, start + length)
        keys, values = (torch.cat([first, states[:, own]], dim=1) for first, states in zip(before, (key, value), strict=True))
        attended = plain(query[:, own], keys, values)
        expected.append(attended[-1:] if only_last else attended)
    asking = query[:, length - 1 :: length] if only_last else query
    attended = torch.empty(asking.shape[1], len(key), len(query) // len(key), SIZE)
    attend_run(asking, key, value, before, count, SIZE**-0.5, out=attended)
    found = attended.flatten(1)
    torch.testing.assert_close(found, torch.cat(expected), rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def states(tiny: Checkpoint, *, shift: int = 0, dropped: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Last states of five sequences behind a prefix, and those of the plain model; what shall be noticed may be wrong."""
    backbone = tiny.load_model().causal_lm.model
    prefix_ids = [5, 17, 300, 42, 8]
    sequences = [[9], [9, 33], [70, 12], [1, 2, 3, 4, 5, 6, 7], [400, 20, 20, 20, 20, 20, 11]]
    layers = TransformersLayers(backbone)
    forward = PackedForward(layers, read_prefix(layers, prefix_ids[dropped:]).prefix)
    found = forward(Pack.of(sequences, len(prefix_ids) + shift, torch.device("cpu")))
    expected = [backbone(torch.tensor([prefix_ids + own]), use_cache=False).last_hidden_state[0, -1] for own in sequences]
    return found, torch.stack(expected)


def test_states_are_those_of_the_plain_model(tiny: Checkpoint) -> None:
    found, expected = states(tiny)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("wrong", [{"shift": 1}, {"dropped": 1}], ids=["positions shifted by one", "a prefix token dropped"])
def test_the_comparison_can_fail(tiny: Checkpoint, wrong: dict[str, int]) -> None:
    found, expected = states(tiny, **wrong)
    assert (found - expected).abs().max() > 1e-3


def test_the_prefix_is_read_as_the_plain_model_reads_it(tiny: Checkpoint) -> None:
    backbone = tiny.load_model().causal_lm.model
    ids = [5, 17, 300, 42, 8]
    with torch.inference_mode():
        read = read_prefix(TransformersLayers(backbone), ids)
        cache: Any = DynamicCache(config=backbone.config)
        plain = backbone(torch.tensor([ids]), past_key_values=cache, use_cache=True).last_hidden_state[0, -1]
    torch.testing.assert_close(read.state, plain, rtol=1e-5, atol=1e-5)
    assert read.prefix.length == len(ids)
    for layer, keys, values in zip(cache.layers, read.prefix.keys, read.prefix.values, strict=True):
        torch.testing.assert_close(keys, layer.keys[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(values, layer.values[0], rtol=1e-5, atol=1e-5)
