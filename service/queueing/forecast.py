"""`Forecast`: estimates when work will be done, from the measured speed of the engine and the batches that are running."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.engines import Throughput

# Share of a request's remaining time that may be planned. The rest is a reserve: work takes longer than forecast half of the time, a
# request is answered only when its whole batch is done, and an answer that comes too late is useless.
PLANNED = 0.75


class Forecast:
    """Knows the running batches and learns from those that have ended.

    Args:
        clock: returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._throughput = Throughput()
        self._running: dict[object, tuple[int, float]] = {}

    @property
    def running(self) -> int:
        """Number of running batches."""
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
        """Learns from a successful batch; called inside `batch`. If other batches were running, it had only its share of the engine.

        If no work was left waiting (not `busy`), the batch may have been small, and a small batch takes nearly as long as a large one. Such
        a batch counts only if it ran alone and was faster than forecast. It has to count then: otherwise a forecast that is far too long
        would keep all work away and never be corrected.
        """
        share = seconds / max(self.running, 1)
        if tokens and (busy or (self.running <= 1 and share < self.seconds(tokens))):
            self._throughput.learn(tokens, share)

    def seconds(self, tokens: int) -> float:
        """Returns how many seconds tokens take on their own; 0 before the first measurement."""
        return self._throughput.seconds(tokens)

    def until_done(self, tokens: int) -> float:
        """Returns how many seconds it takes until tokens are done, behind the running batches.

        If the running batches take longer than forecast, the tokens are expected to run at the pace that would be learnt if those batches
        ended now; a slow batch that is small changes this pace only little.
        """
        now, lanes = self._clock(), max(self.running, 1)
        begun = [(size, (now - since) / lanes) for size, since in self._running.values()]
        rest = math.fsum(max(0.0, self.seconds(size) - elapsed) for size, elapsed in begun)
        pace = self._throughput.pace(sum(size for size, _ in begun), math.fsum(elapsed for _, elapsed in begun))
        return rest + max(1.0, pace) * self.seconds(tokens)
