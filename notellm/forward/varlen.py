"""`varlen_attention`: attention over a `Pack` with kernels for variable lengths (flash attention), for GPUs.

Queries attend twice: to their own sequence and to the shared prefix. The two results are then joined by their log-sum-exps.
The prefix is therefore not copied: it is one sequence of keys that the queries of all sequences see.
"""

from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.attention.varlen import AuxRequest, varlen_attn

from notellm.forward.packing import Pack


class VarlenKernel(Protocol):
    """Attention of sequences that lie end to end."""

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, starts: tuple[Tensor, Tensor], longest: tuple[int, int], scaling: float,
        *, causal: bool,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Computes the attention.

        Args:
            query: (Q, H, D).
            key: (T, K, D).
            value: (T, K, D).
            starts: index of each sequence's first query, and of its first key, (S + 1,) int32 each, starting with 0. A sequence may be
                empty.
            longest: upper bounds of the queries and of the keys of one sequence.
            scaling: factor of the scores.
            causal: whether only the last query of a sequence sees all of its keys, and each earlier query one key fewer than the next.

        Returns:
            (Q, H, D), and the log-sum-exp of the scores, (H, Q) float32. For queries after the last sequence both are undefined: flash
            attention does not write them.
        """
        ...


def flash_kernel(
    query: Tensor, key: Tensor, value: Tensor, starts: tuple[Tensor, Tensor], longest: tuple[int, int], scaling: float, *,
    causal: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """`VarlenKernel` by `torch.nn.attention.varlen`: for 16-bit floats on a GPU and head sizes that are multiples of 8, up to 256.

    Heads and tokens may have any strides, so the prefix's keys are not copied. `enable_gqa` is set even if H = K: some torch releases
    otherwise choose cuDNN's kernels, which are planned again for each new shape, instead of flash attention.
    """
    query, key, value = (states if states.stride(-1) == 1 else states.contiguous() for states in (query, key, value))
    attended, log_sums = varlen_attn(
        query, key, value, *starts, *longest,
        return_aux=AuxRequest(lse=True), scale=scaling, window_size=(-1, 0 if causal else -1), enable_gqa=True,
    )  # fmt: skip
    return attended, log_sums


def reference_kernel(
    query: Tensor, key: Tensor, value: Tensor, starts: tuple[Tensor, Tensor], longest: tuple[int, int], scaling: float, *,
    causal: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """`VarlenKernel` written out for any device, one sequence at a time. Tests compare the fast kernels with it.

    Undefined results are NaN here, so that a test notices if they are used.
    """
    attended = torch.full_like(query, torch.nan)
    log_sums = torch.full((query.shape[1], len(query)), torch.nan, device=query.device)
    group = query.shape[1] // key.shape[1]
    of_queries, of_keys = (pairwise(start.tolist()) for start in starts)
    for (first, last), (first_key, last_key) in zip(of_queries, of_keys, strict=True):
        q = query[first:last].transpose(0, 1).float()
        k, v = (states[first_key:last_key].transpose(0, 1).repeat_interleave(group, 0).float() for states in (key, value))
        scores = q @ k.transpose(1, 2) * scaling
        if causal:
            later = torch.ones(scores.shape[1:], dtype=torch.bool, device=scores.device).triu(k.shape[1] - q.shape[1] + 1)
            scores = scores.masked_fill(later, -torch.inf)
        attended[first:last] = (scores.softmax(-1) @ v).transpose(0, 1).to(query.dtype)
        log_sums[:, first:last] = scores.logsumexp(-1)
    return attended, log_sums


def varlen_attention(
    query: Tensor, key: Tensor, value: Tensor, prefix: tuple[Tensor, Tensor], pack: Pack, scaling: float, *, last_only: bool,
    kernel: VarlenKernel = flash_kernel,
) -> Tensor:  # fmt: skip
    """`PackedAttention` by a kernel for variable lengths.

    It depends only on sizes that the host knows and never waits for the device, so a CUDA graph can capture it.
    """
    query, key, value = (states.transpose(0, 1) for states in (query, key, value))
    starts = torch.arange(len(pack.starts), dtype=torch.int32, device=query.device) if last_only else pack.starts
    longest = 1 if last_only else pack.longest, pack.longest
    own, own_sums = kernel(query, key, value, (starts, pack.starts), longest, scaling, causal=not last_only)
    prefix_keys, prefix_values = (states.transpose(0, 1) for states in prefix)
    if len(prefix_keys):
        # All queries as one sequence, and the prefix's keys as one.
        longest = len(query), len(prefix_keys)
        whole = _starts_of_one(len(query), query.device), _starts_of_one(len(prefix_keys), query.device)
        shared, shared_sums = kernel(query, prefix_keys, prefix_values, whole, longest, scaling, causal=False)
        # Weights of the two results in their joint softmax, (Q, H, 1).
        to_own = torch.sigmoid(own_sums - shared_sums).transpose(0, 1)[..., None]
        own = (own.float() * to_own + shared.float() * (1 - to_own)).to(own.dtype)
    return own.flatten(1)


def _starts_of_one(length: int, device: torch.device) -> Tensor:
    """The `starts` of a single sequence, created on the device."""
    return torch.arange(0, length + 1, length, dtype=torch.int32, device=device)
