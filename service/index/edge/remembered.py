"""`Remembered`: a number that may be costly to count."""

import time
from collections.abc import Callable

# Of the time, at most, for counting what is asked for again and again.
SHARE = 0.01
CHEAP_SECONDS = 0.001


class Remembered:
    """Counts anew each time as long as that is quick; else not more often than a hundredth of the time allows.

    Args:
        count: counts.
        clock: seconds, monotonic.
    """

    def __init__(self, count: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        self._count = count
        self._clock = clock
        self._value = 0
        self._until = -float("inf")

    def value(self) -> int:
        """The number, or what it was a little while ago."""
        start = self._clock()
        if start >= self._until:
            self._value = self._count()
            end = self._clock()
            taken = end - start
            self._until = end + taken / SHARE if taken > CHEAP_SECONDS else end
        return self._value
