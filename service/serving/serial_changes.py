"""`SerialChanges`: makes changes one after another, each completely. `cancel`: cancels tasks and waits for them."""

import asyncio
from collections.abc import Awaitable, Callable


class SerialChanges:
    """Makes changes one after another. Each change is completed even if the request that asked for it is cancelled.

    Attributes:
        lock: held while a change is made. Other code that reads or changes the state may also hold it.
    """

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self._running: set[asyncio.Task[None]] = set()

    async def make(self, change: Callable[[], Awaitable[None]]) -> None:
        """Makes a change, and raises the errors of the change."""

        async def alone() -> None:
            async with self.lock:
                await change()

        task = asyncio.create_task(alone())
        self._running.add(task)
        task.add_done_callback(self._ended)
        await asyncio.shield(task)

    async def close(self) -> None:
        """Cancels the current change and those that are waiting."""
        await cancel(*self._running)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # retrieve the exception in case the request is gone, or asyncio logs the full traceback


async def cancel(*tasks: asyncio.Task[None] | None) -> None:
    """Cancels tasks and waits until all of them have ended. An exception that a task raises stays in the task.

    Raises:
        asyncio.CancelledError: the caller itself was cancelled while it waited; the tasks still end.
    """
    # Awaiting a task would raise its `CancelledError`, which the caller could not tell from its own.
    ending = [task for task in tasks if task is not None]
    for task in ending:
        task.cancel()
    if ending:
        await asyncio.wait(ending)
