"""`CircuitBreaker`: after several failures in a row, a server that does not answer is left alone for a while."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.errors import Unavailable


class CircuitBreaker:
    """Closed, it lets calls through; open, it refuses them at once; half open, it lets one through to see.

    Args:
        name: of the server, in messages.
        failure: what a call raises when the server does not answer, and what is raised while the breaker is open.
        failures: in a row, that open it.
        pause_seconds: how long it stays open before a call may try again.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        name: str,
        failure: type[Unavailable],
        *,
        failures: int,
        pause_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._failure = failure
        self._limit = failures
        self._pause_seconds = pause_seconds
        self._clock = clock
        self._failures = 0
        self._opened = -math.inf
        self._trying = False

    @property
    def open(self) -> bool:
        """Whether calls are refused, but for one now and then that sees whether the server is back."""
        return self._failures >= self._limit

    @contextmanager
    def call(self) -> Iterator[None]:
        """Wraps one call; a `failure` that leaves it counts as one, anything else is an answer.

        Raises:
            Unavailable: the breaker is open; a `failure`.
        """
        half_open = self.open
        left = self._opened + self._pause_seconds - self._clock()
        if half_open and (left > 0 or self._trying):
            raise self._failure(
                f"{self._name} has failed {self._failures} times in a row and is left alone for a while",
                max(1, math.ceil(left)),
            )
        self._trying = half_open
        try:
            yield
        except self._failure:
            self._failures += 1
            self._opened = self._clock()
            raise
        except Exception:
            self._failures = 0
            raise
        else:
            self._failures = 0
        finally:
            if half_open:
                self._trying = False
