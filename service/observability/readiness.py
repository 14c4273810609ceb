"""`Readiness`: can the service answer requests? Anybody may ask as often as they like: the index is asked once per second at most."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable

from service.errors import ServiceError

logger = logging.getLogger(__name__)
FRESH_SECONDS = 1.0
INDEX_FAILS = "the index does not answer, or refuses: the log says why"


class Readiness:
    """Decides the index's part of the answer of `/health/ready`. Details go to the log and not into the answer, which is public.

    Args:
        count: counts the stored notes in the index.
        warning: returns a warning for the operator about this number of notes, or None.
        warned: the warning that is already in the log, or None.
    """

    def __init__(
        self, count: Callable[[], Awaitable[int]], warning: Callable[[int], str | None], *, warned: str | None = None
    ) -> None:
        self._count = count
        self._warning = warning
        self._warned = bool(warned)
        self._failure: str | None = None
        self._fresh_until = -math.inf
        self._lock = asyncio.Lock()

    async def failure(self) -> str | None:
        """Returns what is wrong, or None, as of the last second. Simultaneous callers wait for the same check."""
        async with self._lock:
            if time.monotonic() >= self._fresh_until:
                self._failure = await self._check()
                self._fresh_until = time.monotonic() + FRESH_SECONDS
            return self._failure

    async def _check(self) -> str | None:
        try:
            warning = self._warning(await self._count())
        except ServiceError as error:
            if self._failure is None:
                logger.warning("not ready: %s", error.detail)
            return INDEX_FAILS
        if self._failure:
            logger.info("ready again: the index answers")
        if warning and not self._warned:
            logger.warning(warning)
        self._warned = bool(warning)
        return None
