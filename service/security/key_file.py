"""`KeyFile`: the API keys of a file that may change while the service runs."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from service.errors import StartupError
from service.observability import Metrics
from service.security.keys import KeyRing, read_keys

logger = logging.getLogger(__name__)
# Small files, read whole: a modification time may stand still while the content changes, or be that of a link.
SECONDS_BETWEEN_READS = 1.0


class KeyFile:
    """The keys that are accepted now. Make one with `KeyFile.open`.

    A file that cannot be read any more, or is not right, changes nothing: an operator's slip must not lock everybody out.
    """

    def __init__(self, path: Path, content: bytes, ring: KeyRing, metrics: Metrics) -> None:
        self._path = path
        self._content = content
        self._metrics = metrics
        self._complaint = ""
        self.ring = ring
        self._metrics.api_keys.set(len(ring))

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path, metrics: Metrics) -> AsyncIterator[Self]:
        """Reads the file, and again whenever it changes.

        Raises:
            StartupError: it cannot be read or is not right.
        """
        content, ring = await asyncio.to_thread(read_keys, path)
        keys = cls(path, content, ring, metrics)
        watching = asyncio.create_task(keys._watch())
        try:
            yield keys
        finally:
            watching.cancel()

    async def refresh(self) -> None:
        """Reads the file once more."""
        try:
            content, ring = await asyncio.to_thread(read_keys, self._path)
        except StartupError as error:
            self._complain(str(error))
            return
        except Exception as error:  # whatever it is, the next look may find the key that is to be taken back
            self._complain(type(error).__name__, error)
            return
        self._complaint = ""
        self._metrics.api_keys_stale.set(0)
        if content != self._content:
            self._content, self.ring = content, ring
            self._metrics.api_keys.set(len(ring))
            logger.info("API keys were read again", extra={"api_keys": len(ring)})

    def _complain(self, complaint: str, unexpected: Exception | None = None) -> None:
        self._metrics.api_keys_stale.set(1)
        if complaint != self._complaint:
            self._complaint = complaint
            logger.error("API keys cannot be read again, those from before stay: %s", complaint, exc_info=unexpected)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_READS)
            await self.refresh()
