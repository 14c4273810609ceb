"""`LiveHashtags`: the hashtags of the stored notes, counted again and again while the service runs."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from notellm.hashtag_use import HashtagUse
from service.errors import ServiceError
from service.index import NoteIndex
from service.observability import Metrics

logger = logging.getLogger(__name__)


class LiveHashtags:
    """Counts the hashtags of the stored notes. Other processes may store notes as well, so it asks the index.

    Make an instance with `LiveHashtags.open`, which counts in the background.

    Args:
        index: holds the notes.
        most: how many spellings to count, the most used ones.
        recent: notes that were published within this time are counted as well; None if all notes count alike.
        metrics: times the counts.
    """

    def __init__(self, index: NoteIndex, *, most: int, recent: timedelta | None = None, metrics: Metrics) -> None:
        self._index = index
        self._most = most
        self._recent = recent
        self._metrics = metrics
        self.use = HashtagUse()
        """The latest count."""
        self._followers: list[Callable[[HashtagUse], None]] = []
        # Each follower learns each count, and one after another.
        self._telling = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, index: NoteIndex, *, most: int, recent: timedelta | None = None, every_seconds: float, metrics: Metrics
    ) -> "AsyncIterator[LiveHashtags]":
        """Counts once, and then again after each pause until the block ends.

        Args:
            index: see the class.
            most: see the class.
            recent: see the class.
            every_seconds: the pause.
            metrics: see the class.
        """
        live = cls(index, most=most, recent=recent, metrics=metrics)
        await live.refresh()
        following = asyncio.create_task(live._follow(every_seconds), name="live-hashtags")
        try:
            yield live
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    @asynccontextmanager
    async def followed_by(self, follower: Callable[[HashtagUse], None]) -> AsyncIterator[None]:
        """Calls `follower` in a thread with the latest count, and with every new count while the block lasts."""
        async with self._telling:
            await asyncio.to_thread(follower, self.use)
            self._followers.append(follower)
        try:
            yield
        finally:
            self._followers.remove(follower)

    async def refresh(self) -> None:
        """Counts now. If the index fails, the previous count stays."""
        if not self._most:
            return
        try:
            with self._metrics.index_operation("hashtags"):
                counted = await self._index.hashtags(self._most)
        except ServiceError as error:
            logger.warning("the hashtags of the stored notes could not be counted", extra={"reason": error.detail})
            return
        use = await asyncio.to_thread(HashtagUse.of_spellings, counted.spellings, counted.notes)
        use = replace(use, recent=await self._count_recent())
        async with self._telling:
            if use == self.use:
                return
            self.use = use
            for follower in tuple(self._followers):
                await self._tell(follower)

    async def _count_recent(self) -> HashtagUse | None:
        """Counts recent notes. If only that fails, the previous count of them stays, and that of all notes goes on."""
        if not self._recent:
            return None
        try:
            with self._metrics.index_operation("hashtags"):
                counted = await self._index.hashtags(self._most, created_after=datetime.now(UTC) - self._recent)
        except ServiceError as error:
            logger.warning("the hashtags of recent notes could not be counted", extra={"reason": error.detail})
            return self.use.recent
        return await asyncio.to_thread(HashtagUse.of_spellings, counted.spellings, counted.notes)

    async def _tell(self, follower: Callable[[HashtagUse], None]) -> None:
        try:
            await asyncio.to_thread(follower, self.use)
        except Exception:
            logger.exception("a model could not take over the hashtags of the stored notes")

    async def _follow(self, every_seconds: float) -> None:
        while True:
            await asyncio.sleep(every_seconds)
            try:
                await self.refresh()
            except Exception:
                logger.exception("the hashtags of the stored notes could not be counted")
