"""`Remembered`: caches a number that may be slow to count."""

import time
from collections.abc import Callable

# Counting may take at most this share of the time.
SHARE = 0.01
CHEAP_SECONDS = 0.001


class Remembered:
    """Counts every time as long as counting is quick. If it is slow, counts so rarely that it takes a hundredth of the time.

    Args:
        count: counts and returns the number.
        clock: returns monotonic seconds.
    """

    def __init__(self, count: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        self._count = count
        self._clock = clock
        self._value = 0
        self._until = -float("inf")

    def value(self) -> int:
        """Returns the number, which may be slightly out of date."""
        start = self._clock()
        if start >= self._until:
            self._value = self._count()
            end = self._clock()
            taken = end - start
            self._until = end + taken / SHARE if taken > CHEAP_SECONDS else end
        return self._value
