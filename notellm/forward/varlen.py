"""`varlen_attention`: attention over a `Pack` by kernels for variable lengths (flash attention), for GPUs.

A sequence's queries attend twice, to the sequence itself and to the shared prefix, and the two are joined by their log-sum-exps.
So the prefix is read where it is: as one sequence of keys that all queries see, whichever sequence they belong to.
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
        """Attends.

        Args:
            query: (asking tokens, heads, head size).
            key: (tokens, key-value heads, head size).
            value: as `key`.
            starts: of queries and of keys, (sequences + 1,) int32 each, beginning with 0. A sequence may be empty.
            longest: most queries and most keys of a sequence, or more.
            scaling: factor of the scores.
            causal: the last query of a sequence sees all of its keys, each earlier one a key less.

        Returns:
            (asking tokens, heads, head size), and the log-sum-exp of the scores, (heads, asking tokens) float32. Both are
            undefined for queries behind the last sequence, which flash attention leaves as the memory was.
        """
        ...


def flash_kernel(
    query: Tensor, key: Tensor, value: Tensor, starts: tuple[Tensor, Tensor], longest: tuple[int, int], scaling: float, *,
    causal: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """`VarlenKernel` by `torch.nn.attention.varlen`: 16-bit floats on a GPU, head sizes that are multiples of 8 up to 256.

    Heads and tokens may have any strides: the prefix's keys are not copied. Grouped queries are announced even where there are
    none: torch releases that prefer cuDNN's kernels, which plan for each new shape, then stay with flash attention.
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
    """`VarlenKernel` written out, a sequence at a time: what the fast ones are compared with, on any device.

    What is undefined is not a number here, so that a test sees it where it is used.
    """
    attended = torch.full_like(query, torch.nan)
    log_sums = torch.full((query.shape[1], len(query)), torch.nan, device=query.device)
    group = query.shape[1] // key.shape[1]
    asking, seen = (pairwise(start.tolist()) for start in starts)
    for (first, last), (first_key, last_key) in zip(asking, seen, strict=True):
        q = query[first:last].transpose(0, 1).float()
        k, v = (states[first_key:last_key].transpose(0, 1).repeat_interleave(group, 0).float() for states in (key, value))
        scores = q @ k.transpose(1, 2) * scaling
        if causal:
            ahead = torch.ones(scores.shape[1:], dtype=torch.bool, device=scores.device).triu(k.shape[1] - q.shape[1] + 1)
            scores = scores.masked_fill(ahead, -torch.inf)
        attended[first:last] = (scores.softmax(-1) @ v).transpose(0, 1).to(query.dtype)
        log_sums[:, first:last] = scores.logsumexp(-1)
    return attended, log_sums


def varlen_attention(
    query: Tensor, key: Tensor, value: Tensor, before: tuple[Tensor, Tensor], pack: Pack, scaling: float, *, at_end: bool,
    kernel: VarlenKernel = flash_kernel,
) -> Tensor:  # fmt: skip
    """`PackedAttention` by a kernel for variable lengths.

    Takes nothing from the host but sizes, and asks the device for nothing: a CUDA graph can hold it.
    """
    query, key, value = (states.transpose(0, 1) for states in (query, key, value))
    asking = torch.arange(len(pack.starts), dtype=torch.int32, device=query.device) if at_end else pack.starts
    longest = 1 if at_end else pack.longest, pack.longest
    own, own_sums = kernel(query, key, value, (asking, pack.starts), longest, scaling, causal=not at_end)
    prefix_keys, prefix_values = (states.transpose(0, 1) for states in before)
    if len(prefix_keys):
        # One sequence of all queries, and one of the prefix's keys.
        longest = len(query), len(prefix_keys)
        whole = _whole(len(query), query.device), _whole(len(prefix_keys), query.device)
        shared, shared_sums = kernel(query, prefix_keys, prefix_values, whole, longest, scaling, causal=False)
        # Shares of the joint softmax, (asking tokens, heads, 1).
        to_own = torch.sigmoid(own_sums - shared_sums).transpose(0, 1)[..., None]
        own = (own.float() * to_own + shared.float() * (1 - to_own)).to(own.dtype)
    return own.flatten(1)


def _whole(length: int, device: torch.device) -> Tensor:
    """The starts of one sequence, made on the device."""
    return torch.arange(0, length + 1, length, dtype=torch.int32, device=device)
