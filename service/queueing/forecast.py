"""`Forecast`: when work will be done, by how fast the engine was and by what it is doing now."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.engines import Throughput

# Of the time that a request has left, this much is planned for: work takes longer than forecast as often as less, a request is
# answered when the whole of its batch is done, and what is done too late was done for nobody.
PLANNED = 0.75


class Forecast:
    """Knows the batches that run and learns from those that have ended.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._throughput = Throughput()
        self._running: dict[object, tuple[int, float]] = {}

    @property
    def running(self) -> int:
        """Batches that run now."""
        return len(self._running)

    @contextmanager
    def batch(self, tokens: int) -> Iterator[None]:
        """Wraps a batch while it runs."""
        self._running[token := object()] = tokens, self._clock()
        try:
            yield
        finally:
            del self._running[token]

    def learn(self, tokens: int, seconds: float, *, busy: bool) -> None:
        """Adds a batch that ends well, within `batch`. Beside others it got only its share of the engine.

        One that left nothing waiting (not `busy`) may have been small, which takes nearly as long: it counts only if it ran alone and
        the engine turns out to be faster than was thought. Else a forecast that is far too long would keep work away and never be
        corrected.
        """
        share = seconds / max(self.running, 1)
        if tokens and (busy or (self.running <= 1 and share < self.seconds(tokens))):
            self._throughput.learn(tokens, share)

    def seconds(self, tokens: int) -> float:
        """How long tokens take on their own; 0 as long as nothing was measured."""
        return self._throughput.seconds(tokens)

    def until_done(self, tokens: int) -> float:
        """How long until tokens are done behind what runs already.

        Where that takes longer than forecast, at the pace that would be learnt if it ended now: a small batch that is slow says little.
        """
        now, lanes = self._clock(), max(self.running, 1)
        begun = [(size, (now - since) / lanes) for size, since in self._running.values()]
        rest = math.fsum(max(0.0, self.seconds(size) - elapsed) for size, elapsed in begun)
        pace = self._throughput.pace(sum(size for size, _ in begun), math.fsum(elapsed for _, elapsed in begun))
        return rest + max(1.0, pace) * self.seconds(tokens)
