"""`CircuitBreaker`: stops calls to a server for a while after several failures in a row."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.errors import Unavailable


class CircuitBreaker:
    """A closed breaker lets calls through, an open one refuses them at once, and a half-open one lets a single call try.

    Args:
        name: name of the server, for messages.
        failure: the error of a call that the server does not answer. The breaker raises it, too, while it is open.
        failures: how many failures in a row open the breaker.
        pause_seconds: how long the breaker stays open before a call may try again.
        clock: monotonic clock, in seconds.
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
        """Whether calls are refused, except for a single one after each pause, which tests whether the server is back."""
        return self._failures >= self._limit

    @contextmanager
    def call(self) -> Iterator[None]:
        """Wraps one call. A `failure` raised inside counts as a failure; anything else counts as an answer.

        Raises:
            Unavailable: the breaker is open, or the call raised a `failure`.
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
