"""`Readiness`: can requests be answered? Strangers may ask, as often as they like: they cost one look at the index a second."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable

from service.errors import ServiceError

logger = logging.getLogger(__name__)
FRESH_SECONDS = 1.0
INDEX_FAILS = "the index does not answer, or refuses: the log has its reason"


class Readiness:
    """Decides about the index's part of `/health/ready`. What it finds out beyond yes and no is for the log, not for strangers.

    Args:
        count: the stored notes, as the index counts them.
        warning: what the operator should know about so many.
        warned: of which the log has been told already.
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
        """What is wrong, or None, as it was within the last second. Who asks meanwhile waits for the same look."""
        async with self._lock:
            if time.monotonic() >= self._fresh_until:
                self._failure = await self._look()
                self._fresh_until = time.monotonic() + FRESH_SECONDS
            return self._failure

    async def _look(self) -> str | None:
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
