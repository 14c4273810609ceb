"""`GraphedForward`: the packed forward pass as CUDA graphs, so that a small pack does not wait for its kernels to be launched."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from notellm.forward.packing import Pack

FEWEST_TOKENS = 64
STEPS_PER_DOUBLING = 4
# Flash attention takes queries in blocks of up to this many.
FEWEST_LONGEST = 128
WARM_UPS = 2


@dataclass(frozen=True)
class Bucket:
    """The sizes of packs that share one graph.

    Attributes:
        tokens: in four steps from each power of two to the next, so that at most a fifth of a large pack is filling.
        sequences: a power of two.
        longest: a power of two.
    """

    tokens: int
    sequences: int
    longest: int

    @classmethod
    def of(cls, pack: Pack) -> "Bucket":
        """The smallest one that holds a pack."""
        tokens = pack.input_ids.shape[1]
        step = max(FEWEST_TOKENS, _power_of_two(tokens) // 2 // STEPS_PER_DOUBLING)
        return cls(-(-tokens // step) * step, _power_of_two(len(pack.last)), max(FEWEST_LONGEST, _power_of_two(pack.longest)))

    def filled(self, pack: Pack) -> Pack:
        """The pack in this size: tokens behind the last sequence belong to none, and the sequences added are empty.

        Only attention that goes by `starts` and `longest` can take it. The states of the added sequences are the first token's.
        """
        tokens, sequences = self.tokens - pack.input_ids.shape[1], self.sequences - len(pack.last)
        return Pack(
            functional.pad(pack.input_ids, (0, tokens)), functional.pad(pack.position_ids, (0, tokens)),
            functional.pad(pack.last, (0, sequences)), torch.cat([pack.starts, pack.starts[-1:].expand(sequences)]),
            runs=(), longest=self.longest,
        )  # fmt: skip


class GraphedForward:
    """A forward pass over packs, filled up to a few sizes; on a GPU each size is captured when it first comes, then replayed.

    Elsewhere the filled pack runs as it is. Safe to use from several threads that share a stream.

    Args:
        forward: a `PackedForward` over `varlen_attention`.
        most_graphs: further sizes run without a graph and without filling.
    """

    def __init__(self, forward: Callable[[Pack], Tensor], *, most_graphs: int = 64) -> None:
        self._forward = forward
        self._most_graphs = most_graphs
        self._graphs: dict[Bucket, _Graph] = {}
        self._pool: Any = None  # torch keeps its type private
        self._lock = Lock()

    @property
    def graphs(self) -> int:
        """How many sizes were captured."""
        return len(self._graphs)

    @torch.inference_mode()
    def __call__(self, pack: Pack) -> Tensor:
        """States after the final norm, (sequences, hidden size)."""
        bucket, sequences = Bucket.of(pack), len(pack.last)
        if pack.input_ids.device.type != "cuda":
            return self._forward(bucket.filled(pack))[:sequences]
        with self._lock:
            if bucket not in self._graphs and len(self._graphs) >= self._most_graphs:
                return self._forward(pack)
            return self._graph(bucket, pack).replay(bucket.filled(pack))[:sequences].clone()

    def _graph(self, bucket: Bucket, pack: Pack) -> "_Graph":
        if bucket not in self._graphs:
            # One after another on one stream, and their results copied at once: they can share memory.
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            self._graphs[bucket] = _Graph(self._forward, bucket.filled(pack), self._pool)
        return self._graphs[bucket]


class _Graph:
    """One captured pass with the memory that it reads and writes."""

    def __init__(self, forward: Callable[[Pack], Tensor], pack: Pack, pool: Any) -> None:  # noqa: ANN401 -- a private type
        self._read = replace(
            pack, input_ids=pack.input_ids.clone(), position_ids=pack.position_ids.clone(), last=pack.last.clone(),
            starts=pack.starts.clone(),
        )  # fmt: skip
        # Libraries allocate and choose kernels on first use, which a capture forbids.
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(WARM_UPS):
                forward(self._read)
        torch.cuda.current_stream().wait_stream(beside)
        self._graph = torch.cuda.CUDAGraph()
        # Other threads may use the device meanwhile.
        with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            self._states = forward(self._read)

    def replay(self, pack: Pack) -> Tensor:
        """The states, in memory that the next replay overwrites."""
        for name in ("input_ids", "position_ids", "last", "starts"):
            getattr(self._read, name).copy_(getattr(pack, name))
        self._graph.replay()
        return self._states


def _power_of_two(number: int) -> int:
    """The smallest that is at least this."""
    return 1 << (number - 1).bit_length()
