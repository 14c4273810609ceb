"""`SearchLimit`: how many searches may run and wait at once. An embedded index does one after another, and their line had no end."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from service.caller import caller
from service.errors import QueueFull
from service.observability import Metrics
from service.queueing.fair_queue import SHARES

RETRY_AFTER = 1


class SearchLimit:
    """Refuses searches for which there is no room. A client's share is that of a `FairQueue`: some room is left for another.

    Args:
        most: searches at once, of all clients.
        metrics: where refusals are counted.
    """

    def __init__(self, most: int, metrics: Metrics) -> None:
        self._most = most
        self._refused = metrics.queue_refused.labels("search")
        self._held: Counter[str] = Counter()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Held by a search from its beginning to its end.

        Raises:
            QueueFull: there is none.
        """
        asking = caller.get()
        held = self._held.total()
        free = self._most - held - 1
        if held and self._held[asking.client] + 1 > SHARES[asking.priority] * free:
            self._refused.inc()
            raise QueueFull(
                f"{held} searches are running or waiting: the limit is {self._most}, of which some is kept for other clients",
                RETRY_AFTER,
            )
        self._held[asking.client] += 1
        try:
            yield
        finally:
            self._held[asking.client] -= 1
            if not self._held[asking.client]:
                del self._held[asking.client]
