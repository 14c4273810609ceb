"""`Supervisor`: keeps something running that may end by itself, and starts it again with growing pauses."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from service.errors import EngineUnavailable

Running = TypeVar("Running")
logger = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0


class Supervisor(Generic[Running]):
    """Owns what runs.

    Args:
        name: in messages.
        start: starts it, ready for work.
        stop: ends it, and does not mind if it has ended already.
        alive: whether it still runs.
        restarted: called each time that it is about to be started again.
        check_seconds: how often it is looked after.
    """

    def __init__(
        self,
        name: str,
        start: Callable[[], Awaitable[Running]],
        stop: Callable[[Running], Awaitable[None]],
        alive: Callable[[Running], bool],
        *,
        restarted: Callable[[], None] = lambda: None,
        check_seconds: float = 0.5,
    ) -> None:
        self._name = name
        self._start = start
        self._stop = stop
        self._alive = alive
        self._restarted = restarted
        self._check_seconds = check_seconds
        self._running: Running | None = None
        self._failure = "is being started"
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Starts it for the first time; what goes wrong is the caller's to handle."""
        self._running = await self._start()
        self._failure = "ended by itself and is about to be started again"
        self._task = asyncio.create_task(self._look_after(), name=f"supervisor-{self._name}")

    @property
    def failure(self) -> str | None:
        """Why it does not run, or None."""
        return None if self._running is not None and self._alive(self._running) else f"{self._name} {self._failure}"

    def get(self) -> Running:
        """What runs.

        Raises:
            EngineUnavailable: it does not.
        """
        if self._running is None or not self._alive(self._running):
            raise EngineUnavailable(f"{self._name} {self._failure}: try again")
        return self._running

    async def close(self) -> None:
        """Ends it, and does not start it again."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        running, self._running = self._running, None
        if running is not None:
            await self._stop(running)

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(self._check_seconds)
            if self._running is not None and not self._alive(self._running):
                logger.error("ended by itself, starting it again", extra={"engine": self._name})
                self._failure = "ended by itself and is being started again"
                ended, self._running = self._running, None
                try:
                    await self._stop(ended)
                except Exception:  # what has ended need not end well: it is started again all the same
                    logger.exception("did not end well", extra={"engine": self._name})
                self._running = await self._start_again()
                self._failure = "ended by itself and is about to be started again"

    async def _start_again(self) -> Running:
        pause = FIRST_PAUSE
        while True:
            self._restarted()
            try:
                return await self._start()
            except Exception as error:
                logger.exception("cannot be started", extra={"engine": self._name, "next_try_seconds": pause})
                self._failure = (
                    f"ended by itself and could not be started again ({type(error).__name__}), next try in {pause:g} s"
                )
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
