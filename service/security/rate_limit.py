"""`RateLimits`: token buckets, one of requests and one of prompt tokens for each client.

Own code, since libraries of rate limits (limits, pyrate-limiter) count before the work, and how many tokens a request has is only
known after its notes are tokenised: a request is let in while its client's bucket is not empty, and charged when it is queued. A
bucket may be overdrawn once by what was let in, and is in debt then for so long that the rate holds.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from service.errors import RateLimited
from service.observability import Metrics
from service.security.keys import Rates

# What a bucket holds: a client that was silent for so long may catch up at once.
BURST_SECONDS = 10.0
# Buckets of clients that were silent longest are forgotten beyond it; a few megabytes.
MAX_BUCKETS = 50_000


class RateLimits:
    """Refuses clients that ask for more than they may.

    Args:
        metrics: where refusals are counted.
        clock: seconds, monotonic.
    """

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._clock = clock
        # The generic cell rate algorithm: of a bucket nothing is kept but the time at which it is full again.
        self._full_at: OrderedDict[tuple[str, str], float] = OrderedDict()

    def admit(self, client: str, rates: Rates) -> None:
        """Takes a request from the client's bucket.

        Raises:
            RateLimited: a bucket is empty; nothing was taken.
        """
        if rates.tokens_per_second is not None:
            self._check(client, "tokens", rates.tokens_per_second, 0)
        if rates.requests_per_second is not None:
            self._check(client, "requests", rates.requests_per_second, 1)
            self._take(client, "requests", rates.requests_per_second, 1)

    def spend(self, client: str, rates: Rates, tokens: int) -> None:
        """Takes a request's tokens, more than there are if need be."""
        if rates.tokens_per_second is not None:
            self._take(client, "tokens", rates.tokens_per_second, tokens)

    def _check(self, client: str, unit: str, rate: float, amount: float) -> None:
        full_in = self._full_at.get((client, unit), 0.0) - self._clock()
        capacity = max(rate * BURST_SECONDS, 1.0)
        wait = full_in - (capacity - amount) / rate
        if wait > 0:
            self._metrics.rate_limited.labels(unit).inc()
            raise RateLimited(
                f"more than {rate:g} {unit} a second were asked for: send less, or ask the operator for more",
                retry_after=min(max(math.ceil(wait), 1), 3600),
            )

    def _take(self, client: str, unit: str, rate: float, amount: float) -> None:
        bucket = (client, unit)
        self._full_at[bucket] = max(self._full_at.get(bucket, 0.0), self._clock()) + amount / rate
        self._full_at.move_to_end(bucket)
        if len(self._full_at) > MAX_BUCKETS:
            self._full_at.popitem(last=False)
