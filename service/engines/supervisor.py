"""`Supervisor`: watches an engine that may end by itself and starts it again, with growing pauses between the tries."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from service.errors import EngineUnavailable

Running = TypeVar("Running")
logger = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0


class Supervisor(Generic[Running]):
    """Owns a running engine.

    Args:
        name: name of the engine, for messages.
        start: starts the engine and returns it when it is ready for work.
        stop: ends the engine; must accept one that has already ended.
        alive: whether the engine still runs.
        restarted: called each time that the engine is about to be started again.
        check_seconds: seconds between two checks.
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
        """Starts the engine for the first time. Errors of `start` go to the caller."""
        self._running = await self._start()
        self._failure = "ended by itself and is about to be started again"
        self._task = asyncio.create_task(self._look_after(), name=f"supervisor-{self._name}")

    @property
    def failure(self) -> str | None:
        """Why the engine does not run, or None if it runs."""
        return None if self._running is not None and self._alive(self._running) else f"{self._name} {self._failure}"

    def get(self) -> Running:
        """Returns the running engine.

        Raises:
            EngineUnavailable: the engine does not run.
        """
        if self._running is None or not self._alive(self._running):
            raise EngineUnavailable(f"{self._name} {self._failure}: try again")
        return self._running

    async def close(self) -> None:
        """Ends the engine and does not start it again."""
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
                except Exception:  # a failed clean-up must not prevent the restart
                    logger.exception("could not be cleaned up after its end", extra={"engine": self._name})
                self._running = await self._start_again()
                self._failure = "ended by itself and is about to be started again"

    async def _start_again(self) -> Running:
        pause = FIRST_PAUSE
        while True:
            self._restarted()
            try:
                return await self._start()
            except Exception as error:
                logger.exception("could not be started again", extra={"engine": self._name, "next_try_seconds": pause})
                self._failure = (
                    f"ended by itself and could not be started again ({type(error).__name__}), next try in {pause:g} s"
                )
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
