"""`SerialChanges`: changes of a state that must not overtake each other, nor stop half way. `cancel`: ends tasks."""

import asyncio
from collections.abc import Awaitable, Callable


class SerialChanges:
    """Makes changes one after another, and each to its end, even if the request that asked for it is given up.

    Attributes:
        lock: held while a change is made. Other code that reads or changes the state may hold it, too.
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
        """Gives up the change that is being made and those that wait for their turn."""
        await cancel(*self._running)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # if its request is gone, nobody else retrieves it, and asyncio would log the full traceback


async def cancel(*tasks: asyncio.Task[None] | None) -> None:
    """Cancels tasks and waits until all of them have ended. An exception that a task raises stays in the task.

    Raises:
        asyncio.CancelledError: the caller itself was cancelled while it waited; the tasks go on ending.
    """
    # Awaiting a task would raise its `CancelledError`, which the caller could not tell from its own.
    ending = [task for task in tasks if task is not None]
    for task in ending:
        task.cancel()
    if ending:
        await asyncio.wait(ending)
