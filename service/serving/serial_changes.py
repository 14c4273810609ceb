"""`SerialChanges`: changes of a state that must not overtake each other, nor stop half way."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress


class SerialChanges:
    """One after another, and each to its end also where the request that asked for it is given up.

    Attributes:
        lock: is held by the one that is being made; whatever else reads or changes the state may hold it, too.
    """

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self._running: set[asyncio.Task[None]] = set()

    async def make(self, change: Callable[[], Awaitable[None]]) -> None:
        """Makes a change, and raises what it raises."""

        async def alone() -> None:
            async with self.lock:
                await change()

        task = asyncio.create_task(alone())
        self._running.add(task)
        task.add_done_callback(self._ended)
        await asyncio.shield(task)

    async def close(self) -> None:
        """Gives up those that are being made."""
        for task in tuple(self._running):
            await cancel(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # the request that it was for may be gone


async def cancel(task: asyncio.Task[None] | None) -> None:
    """Ends a task, and waits until it has ended."""
    if task is not None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
