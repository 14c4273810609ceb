"""`ForwardHealth` and `Liveness`: can the model still run? Idle is healthy, and a single poisonous note is no illness."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager

logger = logging.getLogger(__name__)


class ForwardHealth:
    """Watches forward passes.

    Args:
        stall_seconds: how long work may be running or failing without a success before there is reason for doubt.
        clock: seconds, monotonic.
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
        """Whether a canary should decide: a pass is running for too long, or passes only fail for too long."""
        since = [*self._running.values(), *([] if self._trouble_since is None else [self._trouble_since])]
        return bool(since) and self._clock() - min(since) > self._stall_seconds


Canary = Callable[[], Awaitable[object]]


class Liveness:
    """Decides about `/health/live`.

    Args:
        watched: for each queue its health and a smallest possible forward pass, which goes the way of all work.
        canary_seconds: how long a canary may take.
    """

    def __init__(self, watched: Mapping[str, tuple[ForwardHealth, Canary]], canary_seconds: float) -> None:
        self._watched = watched
        self._canary_seconds = canary_seconds
        self._lock = asyncio.Lock()

    async def failure(self) -> str | None:
        """What is wrong, or None. Runs a canary only where there is doubt, and one at a time."""
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
                    return f"{name}: no forward pass ended, and a canary got no answer in {self._canary_seconds:g} s"
                except Exception as error:
                    logger.exception("canary failed")
                    return f"{name}: forward passes fail, a canary too ({type(error).__name__})"
        return None
