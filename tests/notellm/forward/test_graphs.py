"""The forward pass in sizes that a CUDA graph can hold: what fills them changes nothing, and nothing waits for the device."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from transformers import LlamaConfig, LlamaModel

from notellm import Checkpoint
from notellm.forward.attention import PackedAttention, Prefix
from notellm.forward.graphs import Bucket, GraphedForward
from notellm.forward.layers import TransformersLayers
from notellm.forward.packed import PackedForward, read_prefix
from notellm.forward.packing import Pack
from notellm.forward.varlen import flash_kernel, reference_kernel, varlen_attention

PREFIX = [5, 17, 300, 42, 8]
CPU = torch.device("cpu")
on_cpu = partial(varlen_attention, kernel=reference_kernel)


@pytest.mark.parametrize("lengths", [[1], [3, 7, 7, 20], [1, 1, 1], [2] * 32, [40, 90, 140]])
@pytest.mark.parametrize("prefix", [PREFIX, []])
@torch.inference_mode()
def test_filling_up_changes_no_state(lengths: list[int], prefix: list[int], tiny: Checkpoint) -> None:
    layers = tiny.load_model().layers
    nothing = torch.empty(2, 0, 8)
    read = read_prefix(layers, prefix).prefix if prefix else Prefix((nothing,) * len(layers), (nothing,) * len(layers))
    forward = PackedForward(layers, read, on_cpu)
    pack = Pack.of([range(3, 3 + length) for length in lengths], len(prefix), CPU)
    sizes = []

    def watched(filled: Pack) -> Tensor:
        sizes.append((filled.input_ids.shape[1], len(filled.last), filled.longest))
        return forward(filled)

    torch.testing.assert_close(GraphedForward(watched)(pack), forward(pack), rtol=1e-5, atol=1e-5)
    bucket = Bucket.of(pack)
    assert sizes == [(bucket.tokens, bucket.sequences, bucket.longest)]


def test_sizes_hold_their_packs_and_are_few() -> None:
    packs = [Pack.of([[1] * length] * count, 0, CPU) for length in (1, 30, 129, 300) for count in range(1, 60)]
    for pack in packs:
        bucket, tokens = Bucket.of(pack), pack.input_ids.shape[1]
        assert bucket.tokens >= tokens
        assert bucket.sequences >= len(pack.last)
        assert bucket.longest >= pack.longest
        assert tokens < 512 or bucket.tokens <= 1.25 * tokens
    assert len({Bucket.of(pack) for pack in packs}) < len(packs) / 3


class Watch(TorchFunctionMode):
    """Refuses what a CUDA graph cannot hold besides values read from the device: tensors made from the host's values."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func not in {torch.tensor, torch.as_tensor, torch.from_numpy}, f"{func.__name__} in the pass"
        return func(*args, **(kwargs or {}))


@torch.inference_mode()
def run_without_memory(attention: PackedAttention) -> torch.Size:
    """A pass over a filled pack, shapes only: tensors on torch's device `meta` hold nothing that could be read."""
    config = LlamaConfig(
        vocab_size=50, hidden_size=48, intermediate_size=96, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2
    )
    with torch.device("meta"):
        model: Any = LlamaModel(config)
        layers = TransformersLayers(model.to(torch.bfloat16))
        keys = (torch.empty(2, 7, 8, dtype=torch.bfloat16),) * 3
        row, last = torch.empty(1, 128, dtype=torch.int64), torch.empty(4, dtype=torch.int64)
        pack = Pack(row, row, last, torch.empty(5, dtype=torch.int32), runs=(), longest=128)
    with Watch():
        return PackedForward(layers, Prefix(keys, keys), attention)(pack).shape


def test_nothing_waits_for_the_device() -> None:
    assert run_without_memory(partial(varlen_attention, kernel=flash_kernel)) == (4, 48)


def reading(*args: Any, **options: Any) -> Tensor:
    args[4].starts.tolist()
    return varlen_attention(*args, **options)


def sending(*args: Any, **options: Any) -> Tensor:
    torch.tensor([0, 1], device="meta")
    return varlen_attention(*args, **options)


@pytest.mark.parametrize(("attention", "seen"), [(reading, "no data"), (sending, "tensor in the pass")])
def test_the_watch_sees_what_waits(attention: Callable[..., Tensor], seen: str) -> None:
    with pytest.raises((AssertionError, NotImplementedError), match=seen):
        run_without_memory(attention)
