"""Changes that follow one another, and tasks that are ended."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from service.serving.serial_changes import SerialChanges, cancel


class Slow:
    """Work that takes its time to end when it is cancelled.

    Attributes:
        ending: set when it has begun to end.
        may_end: what it waits for then.
        ended: whether it came to its end undisturbed.
    """

    def __init__(self) -> None:
        self.running = asyncio.Event()
        self.ending = asyncio.Event()
        self.may_end = asyncio.Event()
        self.ended = False

    async def run(self) -> None:
        try:
            self.running.set()
            await asyncio.Event().wait()
        finally:
            self.ending.set()
            await self.may_end.wait()
            self.ended = True


@pytest_asyncio.fixture
async def works() -> AsyncIterator[tuple[Slow, Slow]]:
    """Two of them, which may end when the test is over, whatever became of it."""
    both = Slow(), Slow()
    yield both
    for work in both:
        work.may_end.set()


async def started(work: Slow) -> "asyncio.Task[None]":
    task = asyncio.create_task(work.run())
    await work.running.wait()
    return task


async def turns() -> None:
    """Lets everything go on that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_cancelling_waits_until_the_task_has_ended(works: tuple[Slow, Slow]) -> None:
    work, _ = works
    task = await started(work)
    cancelling = asyncio.create_task(cancel(task))
    await work.ending.wait()
    await turns()
    assert not cancelling.done()
    work.may_end.set()
    await cancelling
    assert task.cancelled()
    assert work.ended


async def test_who_is_cancelled_while_it_cancels_is_cancelled(works: tuple[Slow, Slow]) -> None:
    """A server that ends would go on with what it was told to give up, and the task is not torn out of its end."""
    work, _ = works
    task = await started(work)
    cancelling = asyncio.create_task(cancel(task))
    await work.ending.wait()
    cancelling.cancel()
    await turns()
    assert cancelling.cancelled()
    work.may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.ended


async def test_all_are_told_to_end_before_one_is_waited_for(works: tuple[Slow, Slow]) -> None:
    tasks = [await started(work) for work in works]
    cancelling = asyncio.create_task(cancel(tasks[0], None, tasks[1]))
    await turns()
    assert all(work.ending.is_set() for work in works)
    for work in works:
        work.may_end.set()
    await cancelling
    assert all(task.cancelled() for task in tasks)


async def test_nothing_and_what_has_ended_need_no_wait() -> None:
    await cancel()
    await cancel(None)
    done = asyncio.create_task(asyncio.sleep(0))
    await done
    await cancel(done)
    assert not done.cancelled()


async def test_what_a_task_raises_when_it_ends_is_not_the_callers() -> None:
    async def failing() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("as the test wants it")

    task = asyncio.create_task(failing())
    await turns()
    await cancel(task)
    assert isinstance(task.exception(), ValueError)


async def test_changes_follow_one_another() -> None:
    changes, order, go_on = SerialChanges(), list[str](), asyncio.Event()

    async def first() -> None:
        order.append("first begins")
        await go_on.wait()
        order.append("first ends")

    async def second() -> None:
        order.append("second")

    making = [asyncio.create_task(changes.make(change)) for change in (first, second)]
    await turns()
    assert order == ["first begins"]
    assert changes.lock.locked()
    go_on.set()
    await asyncio.gather(*making)
    assert order == ["first begins", "first ends", "second"]


async def test_a_change_is_made_to_its_end_when_its_request_is_given_up() -> None:
    changes, begun, go_on, made = SerialChanges(), asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def change() -> None:
        begun.set()
        await go_on.wait()
        made.set()

    request = asyncio.create_task(changes.make(change))
    await begun.wait()
    request.cancel()
    await turns()
    assert request.cancelled()
    go_on.set()
    await turns()
    assert made.is_set()
    assert not changes.lock.locked()


async def test_what_a_change_raises_is_the_requests_and_nobody_elses() -> None:
    untold: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: untold.append(context))
    changes, begun, go_on = SerialChanges(), asyncio.Event(), asyncio.Event()

    async def failing() -> None:
        begun.set()
        await go_on.wait()
        raise ValueError("as the test wants it")

    given_up = asyncio.create_task(changes.make(failing))
    await begun.wait()
    given_up.cancel()
    await turns()
    go_on.set()
    with pytest.raises(ValueError, match="as the test wants it"):
        await changes.make(failing)
    gc.collect()
    assert not untold


async def test_closing_gives_up_what_is_being_made_and_what_waits(works: tuple[Slow, Slow]) -> None:
    changes = SerialChanges()
    making = [asyncio.create_task(changes.make(work.run)) for work in works]
    await works[0].running.wait()
    await turns()
    for work in works:
        work.may_end.set()
    await changes.close()
    assert works[0].ended
    assert not works[1].running.is_set()
    for request in making:
        with pytest.raises(asyncio.CancelledError):
            await request
