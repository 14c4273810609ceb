"""Checks that the ways of a GPU run give the right vectors, before any of them is timed."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.gpu_subject import Subject
from benchmarks.gpu_ways import Graphed, Prompts, one_by_one, ours, packed_by_transformers, padded
from notellm import NoteEncoder
from notellm.forward import Pack
from notellm.forward.attention import attention_by_run
from notellm.forward.varlen import VarlenKernel, reference_kernel, varlen_attention

# Heads, key-value heads and head size of SmolLM2-135M, LLaMA-2-7B and LLaMA-3-8B.
ATTENTIONS = ((9, 3, 64), (32, 32, 128), (32, 8, 128))
# Tolerances: for attended values, the 16-bit rounding of numbers up to 4; for their log-sum-exps, which stay in float32.
ATTENDED_TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 3e-2}
LOG_SUM_TOLERANCE = 1e-3
FLOAT32_TOLERANCE = 1e-4
# Our vectors may differ from float32, as 1 - cosine, by twice as much as those of transformers in the same precision, plus rounding.
ROUNDING = 1e-3
LENGTHS = (1, 1, 3, 40, 127, 128, 129, 300)
SMALL_BUDGET = 512


@dataclass(frozen=True)
class Check:
    """A difference and its upper limit; NaN fails."""

    name: str
    found: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether the difference is small enough."""
        return self.found <= self.limit


def check_kernel(kernel: VarlenKernel, device: torch.device, dtype: torch.dtype) -> Iterator[Check]:
    """Compares a kernel with the reference kernel, and the attention that uses it with that for CPUs in float32."""
    for heads, kv_heads, size in ATTENTIONS:
        torch.manual_seed(0)
        pack = Pack.of([[1] * length for length in LENGTHS], 40, device)
        # Two empty sequences more, and tokens after the last sequence, as in a pack that is padded for a graph.
        starts = torch.cat([pack.starts, pack.starts[-1:].expand(2)])
        tokens = pack.input_ids.shape[1]
        states = torch.randn(tokens + 7, heads + 2 * kv_heads, size, device=device).to(dtype)
        query, key, value = states.split([heads, kv_heads, kv_heads], dim=1)
        last = torch.arange(len(starts), dtype=torch.int32, device=device)
        whole = (torch.tensor([0, count], dtype=torch.int32, device=device) for count in (tokens, 40))
        longest = pack.longest
        calls = {
            "own tokens": (query, key, value, (starts, starts), (longest, longest), True),
            "last tokens": (query[: len(starts) - 1], key, value, (last, starts), (1, longest), False),
            "prefix": (query[:tokens], key[:40], value[:40], (next(whole), next(whole)), (tokens, 40), False),
        }
        for name, (q, k, v, bounds, most, causal) in calls.items():
            kinds = f"{name}, {heads}/{kv_heads} heads of {size}"
            found = kernel(q, k, v, bounds, most, size**-0.5, causal=causal)
            expected = reference_kernel(q, k, v, bounds, most, size**-0.5, causal=causal)
            asked = slice(0, len(LENGTHS) if name == "last tokens" else tokens)
            yield Check(f"kernel: {kinds}", largest(found[0][asked], expected[0][asked]), ATTENDED_TOLERANCE[dtype])
            yield Check(
                f"kernel's log-sum-exps: {kinds}", largest(found[1][:, asked], expected[1][:, asked]), LOG_SUM_TOLERANCE
            )
        yield from _check_joined(kernel, (query[:tokens], key[:tokens], value[:tokens]), pack)


def _check_joined(kernel: VarlenKernel, states: tuple[Tensor, Tensor, Tensor], pack: Pack) -> Iterator[Check]:
    query, key, value = (one.transpose(0, 1) for one in states)
    before, scaling = (key[:, -40:], value[:, -40:]), query.shape[-1] ** -0.5
    for last_only in (False, True):
        asking = query[:, pack.last] if last_only else query
        found = varlen_attention(asking, key, value, before, pack, scaling, last_only=last_only, kernel=kernel)
        whole = (asking.float(), key.float(), value.float(), (before[0].float(), before[1].float()))
        expected = attention_by_run(*whole, pack, scaling, last_only=last_only)
        name = f"joined with the prefix, {'last tokens' if last_only else 'own tokens'}, {len(query)}/{len(key)} heads"
        yield Check(name, largest(found, expected), ATTENDED_TOLERANCE[query.dtype])


@torch.inference_mode()
def check_vectors(subject: Subject, prompts: Prompts) -> Iterator[Check]:
    """Compares the ways with the plain forward pass in float32, one prompt at a time, on the same device (needs 3× the weights' memory)."""
    exact = Subject(subject.name, copy.deepcopy(subject.model).float(), subject.prefix, subject.text)
    expected = one_by_one(exact.model, prompts)
    packed = torch.from_numpy(NoteEncoder(exact.model, exact.prefix, max_batch_tokens=SMALL_BUDGET).encode(prompts))
    yield Check("ours in float32: largest difference of a component", largest(packed, expected), FLOAT32_TOLERANCE)
    del exact
    theirs = distance(padded(subject, 16)(prompts), expected)
    yield Check("transformers, padded: 1 - cosine with float32", theirs, ROUNDING * 50)
    limit = 2 * theirs + ROUNDING
    yield Check("ours: 1 - cosine with float32", distance(ours(subject, SMALL_BUDGET)(prompts), expected), limit)
    graphed = Graphed(subject, SMALL_BUDGET)
    for time in ("captured", "replayed"):
        yield Check(f"ours in CUDA graphs, {time}: 1 - cosine with float32", distance(graphed(prompts), expected), limit)
    if packing := packed_by_transformers(subject, SMALL_BUDGET):
        yield Check("transformers, packed: 1 - cosine with float32", distance(packing(prompts), expected), limit)


def largest(found: Tensor, expected: Tensor) -> float:
    """The largest difference; NaN if any value is NaN."""
    return float((found.float() - expected.float()).abs().max())


def distance(found: Tensor, expected: Tensor) -> float:
    """1 - cosine of the worst pair of unit vectors."""
    return float((1 - (found.double() * expected.double()).sum(1)).max())
