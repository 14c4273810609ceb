"""Layers in 8 bits: near the float32 ones, and as independent of the batch."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from notellm import Checkpoint, NoteEncoder, NoteLLM, int8
from notellm.int8 import Int8Linear, Int8NoteLLM, Int8Rows, times_faster
from tests.conftest import NOTES


def test_rows_are_rounded_each_by_its_largest_value() -> None:
    torch.manual_seed(0)
    rows = torch.randn(5, 16) * torch.tensor([1e-3, 1, 1e3, 1, 0])[:, None]
    rounded = Int8Rows.of(rows)
    assert rounded.values.dtype == torch.int8
    assert rounded.values.abs().amax(1).tolist() == [127, 127, 127, 127, 0]
    assert ((rounded.values * rounded.scales - rows).abs() <= rounded.scales * 0.5001).all()


def test_a_layer_gives_the_product_of_the_rounded_rows() -> None:
    torch.manual_seed(0)
    linear, inputs = nn.Linear(16, 6, bias=False), Int8Rows.of(torch.randn(3, 16))
    weight = Int8Rows.of(linear.weight.detach())
    expected = (inputs.values.double() * inputs.scales) @ (weight.values.double() * weight.scales).t()
    torch.testing.assert_close(Int8Linear(linear)(inputs).double(), expected, rtol=1e-5, atol=1e-6)


def test_a_layer_with_more_than_a_weight_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot round this Linear layer to int8"):
        Int8Linear(nn.Linear(4, 4))


@pytest.fixture
def prompts(tiny: Checkpoint) -> list[list[int]]:
    prompt = tiny.prompt()
    return [prompt.embedding(note) for note in prompt.tokenize(NOTES)]


def test_vectors_are_near_and_do_not_depend_on_the_batch(
    tiny: Checkpoint, tiny_model: NoteLLM, tiny_encoder: NoteEncoder, prompts: list[list[int]]
) -> None:
    before = [parameter.clone() for parameter in tiny_model.parameters()]
    encoder = NoteEncoder(Int8NoteLLM(tiny_model), tiny.prompt().embedding_prefix)
    exact, rounded = tiny_encoder.encode(prompts), encoder.encode(prompts)
    cosines = (exact * rounded).sum(1)
    assert cosines.min() >= 0.99
    assert cosines.max() < 1 - 1e-7, "nothing was rounded"
    alone = np.concatenate([encoder.encode([prompt]) for prompt in prompts])
    # A sum in another order may put a value on the other side of a rounding border.
    assert (alone * rounded).sum(1).min() >= 0.9999
    assert all(torch.equal(*pair) for pair in zip(before, tiny_model.parameters(), strict=True))


def test_the_best_runs_after_the_first_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(int8, "time", SimpleNamespace(perf_counter=lambda: clock.now))

    def taking(*seconds: float) -> Callable[[], None]:
        runs = iter(seconds)

        def run() -> None:
            clock.now += next(runs)

        return run

    assert times_faster(taking(1, 5, 4, 6), taking(9, 12, 9, 8)) == 2.0
