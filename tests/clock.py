"""Clocks of tests: time that passes when a test says so, and deadlines that no machine is too slow for."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

# How long a test waits for something that must happen. Only a test that fails waits so long.
PATIENCE_SECONDS = 120.0


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Waits until a condition holds, however slow the machine is."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        held = condition()
        if await held if inspect.isawaitable(held) else held:
            return
        assert time.monotonic() < deadline, f"it has not happened within {PATIENCE_SECONDS:g} s"
        await asyncio.sleep(0.02)


def until_now(condition: Callable[[], bool]) -> None:
    """`until`, where no event loop runs."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"it has not happened within {PATIENCE_SECONDS:g} s"
        time.sleep(0.02)


class LoopTime:
    """The clock of the running event loop, which a test can put forward.

    Timers of the product, such as a limit of ten minutes, can so be tested without waiting, and without limits so short that a busy
    machine exceeds them.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._real = loop.time
        self._ahead = 0.0

    def __call__(self) -> float:
        """Seconds, as `loop.time()`."""
        return self._real() + self._ahead

    def advance(self, seconds: float) -> None:
        """Lets so much time pass at once. Timers that are due then run as soon as the test awaits something."""
        self._ahead += seconds


class VirtualTime:
    """The clock of an event loop on which nothing happens but tasks and timers.

    It stands still while anything can run, and then jumps to the next timer. `asyncio.sleep(0.05)` lets all other tasks go on until
    each of them waits, on the slowest machine too, and takes no time. Threads and sockets would be overtaken: tests that need
    them cannot use it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._now = loop.time()
        self._select: Callable[[float | None], list[Any]] = loop._selector.select  # type: ignore[attr-defined]

    def __call__(self) -> float:
        """Seconds, as `loop.time()`."""
        return self._now

    def select(self, timeout: float | None = None) -> list[Any]:
        """What the event loop does when no task can run."""
        assert timeout is not None, "all tasks wait, and nothing wakes any of them"
        events = self._select(0)
        if not events:
            self._now += timeout
        return events

    @staticmethod
    def refuse_threads(*_: object) -> NoReturn:
        """In place of `loop.run_in_executor`."""
        raise AssertionError("a thread would be overtaken by virtual time")
