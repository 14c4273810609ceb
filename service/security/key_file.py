"""`KeyFile`: API keys from a file that may change while the service runs."""

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
# The file is small, so it is read whole each time. Its modification time is no help: the content may change without it, and
# the time may be that of a symbolic link.
SECONDS_BETWEEN_READS = 1.0


class KeyFile:
    """The keys that are accepted now. Open one with `KeyFile.open`.

    If the file becomes unreadable or invalid, the previous keys stay in use: an operator's mistake must not lock everybody out.
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
        """Reads the file now, and again whenever it changes.

        Raises:
            StartupError: the file cannot be read or is invalid.
        """
        content, ring = await asyncio.to_thread(read_keys, path)
        keys = cls(path, content, ring, metrics)
        watching = asyncio.create_task(keys._watch())
        try:
            yield keys
        finally:
            watching.cancel()

    async def refresh(self) -> None:
        """Reads the file again; keeps the previous keys if that fails."""
        try:
            content, ring = await asyncio.to_thread(read_keys, self._path)
        except StartupError as error:
            self._complain(str(error))
            return
        except Exception as error:  # keep watching whatever happens: the next read may revoke a key
            self._complain(type(error).__name__, error)
            return
        self._complaint = ""
        self._metrics.api_keys_stale.set(0)
        if content != self._content:
            self._content, self.ring = content, ring
            self._metrics.api_keys.set(len(ring))
            logger.info("the API key file has changed; the new keys are in use", extra={"api_keys": len(ring)})

    def _complain(self, complaint: str, unexpected: Exception | None = None) -> None:
        self._metrics.api_keys_stale.set(1)
        if complaint != self._complaint:
            self._complaint = complaint
            logger.error("cannot read the API keys again; the previous keys stay in use: %s", complaint, exc_info=unexpected)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_READS)
            await self.refresh()
