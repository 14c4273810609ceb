"""`RateLimits`: two token buckets per client, one for requests and one for prompt tokens.

Libraries for rate limits (limits, pyrate-limiter) charge before the work. We know the number of tokens only after the notes are
tokenised, so this code is our own. A request is admitted while its client's bucket is not empty, and charged when it is queued. An
admitted request may overdraw the bucket; the client then waits until the average rate is back at the limit.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from service.errors import RateLimited
from service.observability import Metrics
from service.security.keys import Rates

# The size of a bucket, in seconds of its rate: a client that was silent for this long may send that much at once.
BURST_SECONDS = 10.0
# Above this number, the buckets of the clients that were silent longest are dropped. They take a few megabytes.
MAX_BUCKETS = 50_000


class RateLimits:
    """Refuses requests of clients that are over a rate limit.

    Args:
        metrics: counts the refusals.
        clock: monotonic clock, in seconds.
    """

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._clock = clock
        # The generic cell rate algorithm: the only state of a bucket is the time at which it is full again.
        self._full_at: OrderedDict[tuple[str, str], float] = OrderedDict()

    def admit(self, client: str, rates: Rates) -> None:
        """Admits a request and takes it from the client's bucket of requests.

        Raises:
            RateLimited: one of the two buckets is empty. Nothing is taken from either.
        """
        if rates.tokens_per_second is not None:
            self._check(client, "tokens", rates.tokens_per_second, 0)
        if rates.requests_per_second is not None:
            self._check(client, "requests", rates.requests_per_second, 1)
            self._take(client, "requests", rates.requests_per_second, 1)

    def spend(self, client: str, rates: Rates, tokens: int) -> None:
        """Takes a request's tokens from the client's bucket, which may be overdrawn."""
        if rates.tokens_per_second is not None:
            self._take(client, "tokens", rates.tokens_per_second, tokens)

    def _check(self, client: str, unit: str, rate: float, amount: float) -> None:
        full_in = self._full_at.get((client, unit), 0.0) - self._clock()
        capacity = max(rate * BURST_SECONDS, 1.0)
        wait = full_in - (capacity - amount) / rate
        if wait > 0:
            self._metrics.rate_limited.labels(unit).inc()
            raise RateLimited(
                f"the client is over its limit of {rate:g} {unit} per second: send less, or ask the operator for a higher limit",
                retry_after=min(max(math.ceil(wait), 1), 3600),
            )

    def _take(self, client: str, unit: str, rate: float, amount: float) -> None:
        bucket = (client, unit)
        self._full_at[bucket] = max(self._full_at.get(bucket, 0.0), self._clock()) + amount / rate
        self._full_at.move_to_end(bucket)
        if len(self._full_at) > MAX_BUCKETS:
            self._full_at.popitem(last=False)
