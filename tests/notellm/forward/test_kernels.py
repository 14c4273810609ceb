"""The steps between matrix products, against the modules and functions that they stand for."""

import torch
from torch import nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

from notellm.forward.kernels import add_linear_, rms_norm, rotate_

TOKENS, HEADS, SIZE = 7, 4, 8


def test_rotation_is_that_of_transformers() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(TOKENS, HEADS, SIZE), torch.randn(TOKENS, 2, SIZE)
    angles = torch.rand(TOKENS, SIZE // 2) * 6
    cosines, sines = (torch.cat([half, half], -1)[None] for half in (angles.cos(), angles.sin()))
    expected = apply_rotary_pos_emb(query.transpose(0, 1)[None], key.transpose(0, 1)[None], cosines, sines)
    halves = angles.cos()[:, None], angles.sin()[:, None]
    for states, wanted in zip((query, key), expected, strict=True):
        assert rotate_(states, *halves) is states
        torch.testing.assert_close(states, wanted[0].transpose(0, 1))


def test_the_norm_is_that_of_transformers() -> None:
    torch.manual_seed(0)
    norm = LlamaRMSNorm(16, eps=0.1)
    nn.init.normal_(norm.weight)
    states = torch.randn(TOKENS, 16)
    before = states.clone()
    with torch.no_grad():
        torch.testing.assert_close(rms_norm(norm, states), norm(states))
    assert torch.equal(states, before)


def test_other_norms_and_types_are_left_to_the_module() -> None:
    torch.manual_seed(0)
    states = torch.randn(TOKENS, 16)
    with torch.no_grad():
        assert torch.equal(rms_norm(other := nn.LayerNorm(16), states), other(states))
        half = LlamaRMSNorm(16).to(torch.bfloat16)
        assert torch.equal(rms_norm(half, states.bfloat16()), half(states.bfloat16()))


def test_a_product_is_added() -> None:
    torch.manual_seed(0)
    states, inputs = torch.randn(TOKENS, 16), torch.randn(TOKENS, 12)

    class Doubling(nn.Linear):
        """As an adapter's layer, which is more than its weight."""

        def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 -- the name of the base class
            return 2 * super().forward(input)

    for linear in (nn.Linear(12, 16, bias=False), nn.Linear(12, 16), Doubling(12, 16)):
        with torch.no_grad():
            torch.testing.assert_close(add_linear_(states.clone(), linear, inputs), states + linear(inputs))
