"""`GraphedForward`: the packed forward pass as CUDA graphs, so that a small pack does not wait for kernel launches."""

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
    """A size to which packs are padded, so that they share one graph.

    Attributes:
        tokens: T, in four steps from each power of two to the next, so that at most a fifth of a large padded pack is padding.
        sequences: S, a power of two.
        longest: tokens of the longest sequence, a power of two.
    """

    tokens: int
    sequences: int
    longest: int

    @classmethod
    def of(cls, pack: Pack) -> "Bucket":
        """The smallest size that holds a pack."""
        tokens = pack.input_ids.shape[1]
        step = max(FEWEST_TOKENS, _power_of_two(tokens) // 2 // STEPS_PER_DOUBLING)
        return cls(-(-tokens // step) * step, _power_of_two(len(pack.last)), max(FEWEST_LONGEST, _power_of_two(pack.longest)))

    def filled(self, pack: Pack) -> Pack:
        """The pack in this size: added tokens come after the last sequence and belong to none, and added sequences are empty.

        Only attention that uses `starts` and `longest` accepts it. Each added sequence gets the state of the pack's first token.
        """
        tokens, sequences = self.tokens - pack.input_ids.shape[1], self.sequences - len(pack.last)
        return Pack(
            functional.pad(pack.input_ids, (0, tokens)), functional.pad(pack.position_ids, (0, tokens)),
            functional.pad(pack.last, (0, sequences)), torch.cat([pack.starts, pack.starts[-1:].expand(sequences)]),
            runs=(), longest=self.longest,
        )  # fmt: skip


class GraphedForward:
    """A forward pass over packs that are padded to a few sizes. On a GPU, the first pack of a size is captured as a graph, then replayed.

    On other devices the padded pack runs without a graph. Safe to use from several threads that share a stream.

    Args:
        forward: a `PackedForward` over `varlen_attention`.
        most_graphs: most sizes to capture; packs of further sizes run without a graph and without padding.
    """

    def __init__(self, forward: Callable[[Pack], Tensor], *, most_graphs: int = 64) -> None:
        self._forward = forward
        self._most_graphs = most_graphs
        self._graphs: dict[Bucket, _Graph] = {}
        self._pool: Any = None  # torch keeps its type private
        self._lock = Lock()

    @property
    def graphs(self) -> int:
        """Number of sizes that were captured."""
        return len(self._graphs)

    @torch.inference_mode()
    def __call__(self, pack: Pack) -> Tensor:
        """Last-token states after the final norm, (S, E)."""
        bucket, sequences = Bucket.of(pack), len(pack.last)
        if pack.input_ids.device.type != "cuda":
            return self._forward(bucket.filled(pack))[:sequences]
        with self._lock:
            if bucket not in self._graphs and len(self._graphs) >= self._most_graphs:
                return self._forward(pack)
            return self._graph(bucket, pack).replay(bucket.filled(pack))[:sequences].clone()

    def _graph(self, bucket: Bucket, pack: Pack) -> "_Graph":
        if bucket not in self._graphs:
            # All graphs can share memory: they run one after another on one stream, and each result is copied before the next run.
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            self._graphs[bucket] = _Graph(self._forward, bucket.filled(pack), self._pool)
        return self._graphs[bucket]


class _Graph:
    """A captured forward pass and the memory that it reads and writes."""

    def __init__(self, forward: Callable[[Pack], Tensor], pack: Pack, pool: Any) -> None:  # noqa: ANN401 -- a private type
        self._read = replace(
            pack, input_ids=pack.input_ids.clone(), position_ids=pack.position_ids.clone(), last=pack.last.clone(),
            starts=pack.starts.clone(),
        )  # fmt: skip
        # On first use, libraries allocate memory and choose kernels. This is forbidden during capture, so run the pass before it.
        warm_up = torch.cuda.Stream()
        warm_up.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(warm_up):
            for _ in range(WARM_UPS):
                forward(self._read)
        torch.cuda.current_stream().wait_stream(warm_up)
        self._graph = torch.cuda.CUDAGraph()
        # "thread_local" allows other threads to use the device during the capture.
        with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            self._states = forward(self._read)

    def replay(self, pack: Pack) -> Tensor:
        """Runs the graph on a pack. The next replay overwrites the returned states, (S, E)."""
        for name in ("input_ids", "position_ids", "last", "starts"):
            getattr(self._read, name).copy_(getattr(pack, name))
        self._graph.replay()
        return self._states


def _power_of_two(number: int) -> int:
    """The smallest power of two that is at least `number`."""
    return 1 << (number - 1).bit_length()
