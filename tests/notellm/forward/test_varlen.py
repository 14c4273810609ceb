"""The attention for GPUs, through the same packing, with a kernel written out in place of flash attention."""

from functools import partial

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from notellm import Checkpoint
from notellm.forward.attention import attention_by_run
from notellm.forward.packed import PackedForward, read_prefix
from notellm.forward.packing import Pack
from notellm.forward.varlen import flash_kernel, reference_kernel, varlen_attention

HEADS, KV_HEADS, SIZE = 6, 2, 8
SEQUENCES = [[9], [9, 33], [70, 12], [1, 2, 3, 4, 5, 6, 7], [400, 20, 20, 20, 20, 20, 11]]
on_cpu = partial(varlen_attention, kernel=reference_kernel)


@pytest.mark.parametrize("prefix", [0, 1, 7])
@pytest.mark.parametrize("last_only", [False, True])
def test_it_attends_as_the_one_for_cpus(prefix: int, last_only: bool) -> None:
    torch.manual_seed(0)
    pack = Pack.of(SEQUENCES, prefix, torch.device("cpu"))
    tokens = pack.input_ids.shape[1]
    query, (key, value) = torch.randn(HEADS, tokens, SIZE), torch.randn(2, KV_HEADS, tokens, SIZE)
    shared = torch.randn(KV_HEADS, prefix, SIZE), torch.randn(KV_HEADS, prefix, SIZE)
    queries = query[:, pack.last] if last_only else query
    expected = attention_by_run(queries, key, value, shared, pack, SIZE**-0.5, last_only=last_only)
    found = on_cpu(queries, key, value, shared, pack, SIZE**-0.5, last_only=last_only)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_states_are_those_of_the_plain_model(tiny: Checkpoint) -> None:
    model, ids = tiny.load_model(), [5, 17, 300, 42, 8]
    forward = PackedForward(model.layers, read_prefix(model.layers, ids).prefix, on_cpu)
    found = forward(Pack.of(SEQUENCES, len(ids), torch.device("cpu")))
    backbone = model.causal_lm.model
    expected = torch.stack([backbone(torch.tensor([ids + own]), use_cache=False).last_hidden_state[0, -1] for own in SEQUENCES])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_torch_takes_the_call_that_a_gpu_gets() -> None:
    """Shapes and arguments only: no GPU is here to compute with."""
    with FakeTensorMode():
        tokens, sequences = 40, 5
        query = torch.empty(tokens, HEADS, 64, dtype=torch.bfloat16, device="cuda")
        key = torch.empty(tokens, KV_HEADS, 64, dtype=torch.bfloat16, device="cuda")
        starts = torch.empty(sequences + 1, dtype=torch.int32, device="cuda")
        for causal in (False, True):
            attended, log_sums = flash_kernel(query, key, key, (starts, starts), (12, 12), 0.125, causal=causal)
            assert attended.shape == query.shape
            assert log_sums.shape == (HEADS, tokens)
