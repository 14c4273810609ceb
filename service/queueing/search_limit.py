"""`SearchLimit`: limits how many searches run and wait. An embedded index runs one at a time, so they would queue without limit."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from service.caller import caller
from service.errors import QueueFull
from service.observability import Metrics
from service.queueing.fair_queue import SHARES

RETRY_AFTER = 1


class SearchLimit:
    """Refuses searches for which there is no room. Clients have the same shares as in a `FairQueue`, so some room is left for others.

    Args:
        most: how many searches of all clients may run and wait.
        metrics: count the refusals.
    """

    def __init__(self, most: int, metrics: Metrics) -> None:
        self._most = most
        self._refused = metrics.queue_refused.labels("search")
        self._held: Counter[str] = Counter()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Holds a place for a search, for the length of a `with` block.

        Raises:
            QueueFull: no place is free.
        """
        asking = caller.get()
        held = self._held.total()
        free = self._most - held - 1
        if held and self._held[asking.client] + 1 > SHARES[asking.priority] * free:
            self._refused.inc()
            raise QueueFull(
                f"{held} searches are running or waiting: the limit is {self._most}, part of which is reserved for other clients",
                RETRY_AFTER,
            )
        self._held[asking.client] += 1
        try:
            yield
        finally:
            self._held[asking.client] -= 1
            if not self._held[asking.client]:
                del self._held[asking.client]
