"""`ForwardHealth` and `Liveness`: can the model still run? An idle service is healthy, and so is one that fails on a single note."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager

logger = logging.getLogger(__name__)


class ForwardHealth:
    """Watches forward passes.

    Args:
        stall_seconds: how long work may run or fail without a success before the health is in doubt.
        clock: monotonic clock, in seconds.
    """

    def __init__(self, stall_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._stall_seconds = stall_seconds
        self._clock = clock
        self._trouble_since: float | None = None
        self._running: dict[object, float] = {}

    @contextmanager
    def forward(self) -> Iterator[None]:
        """Wraps one forward pass."""
        token, start = object(), self._clock()
        self._running[token] = start
        try:
            yield
        except Exception:
            self._trouble_since = start if self._trouble_since is None else self._trouble_since
            raise
        else:
            self._trouble_since = None
        finally:
            del self._running[token]

    @property
    def doubtful(self) -> bool:
        """Whether a canary should decide: a pass has been running, or all passes have been failing, for too long."""
        since = [*self._running.values(), *([] if self._trouble_since is None else [self._trouble_since])]
        return bool(since) and self._clock() - min(since) > self._stall_seconds


Canary = Callable[[], Awaitable[object]]


class Liveness:
    """Decides the answer of `/health/live`.

    Args:
        watched: for each queue, its health and its canary: a smallest possible forward pass that takes the same path as all work.
        canary_seconds: how long a canary may take.
    """

    def __init__(self, watched: Mapping[str, tuple[ForwardHealth, Canary]], canary_seconds: float) -> None:
        self._watched = watched
        self._canary_seconds = canary_seconds
        self._lock = asyncio.Lock()

    async def failure(self) -> str | None:
        """Returns what is wrong, or None. Runs a canary only for a queue in doubt, and one canary at a time."""
        for name, (health, canary) in self._watched.items():
            if not health.doubtful:
                continue
            async with self._lock:
                if not health.doubtful:
                    continue
                try:
                    with health.forward():
                        await asyncio.wait_for(canary(), self._canary_seconds)
                except TimeoutError:
                    return f"{name}: no forward pass finished, and a canary did not finish within {self._canary_seconds:g} s"
                except Exception as error:
                    logger.exception("canary failed")
                    return f"{name}: forward passes fail, and a canary failed too ({type(error).__name__})"
        return None
