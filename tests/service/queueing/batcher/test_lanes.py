"""A batcher in front of an engine that takes several requests at the same time."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from service.errors import EngineUnavailable
from service.observability import ForwardHealth, Metrics
from service.queueing.batcher import Batcher


class Engine:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.running: dict[str, asyncio.Event] = {}
        self.cancelled: list[str] = []
        self.gone = False

    async def run(self, works: Sequence[str]) -> list[str]:
        (work,) = works
        if self.gone:
            raise EngineUnavailable("it ended")
        done = self.running[work] = asyncio.Event()
        try:
            await done.wait()
        except asyncio.CancelledError:
            self.cancelled.append(work)
            raise
        finally:
            del self.running[work]
        return [work.upper()]


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
async def batcher(engine: Engine) -> AsyncIterator[Batcher[str, str]]:
    made = Batcher[str, str](
        "test", engine.run, metrics=Metrics(), health=ForwardHealth(60), turn=asyncio.Semaphore(2), lanes=2, abandons=True,
        max_batch_tokens=10, max_batch_size=1, max_queue_tokens=100,
    )  # fmt: skip
    made.start()
    yield made
    for done in engine.running.values():
        done.set()
    await made.close()


async def test_as_many_run_as_there_are_lanes_and_an_early_end_makes_room(batcher: Batcher[str, str], engine: Engine) -> None:
    asked = {work: asyncio.create_task(batcher.submit([(work, 1)])) for work in "abc"}
    await asyncio.sleep(0.05)
    assert set(engine.running) == {"a", "b"}
    engine.running["b"].set()
    assert await asked["b"] == ["B"]
    await asyncio.sleep(0.05)
    assert set(engine.running) == {"a", "c"}
    engine.running["c"].set()
    assert await asked["c"] == ["C"]
    assert not asked["a"].done()
    engine.running["a"].set()
    assert await asked["a"] == ["A"]


async def test_what_nobody_waits_for_is_cancelled_while_it_runs(batcher: Batcher[str, str], engine: Engine) -> None:
    first, second = (asyncio.create_task(batcher.submit([(work, 1)])) for work in "ab")
    await asyncio.sleep(0.05)
    first.cancel()
    await asyncio.sleep(0.05)
    assert engine.cancelled == ["a"]
    engine.running["b"].set()
    assert await second == ["B"]
    # Its lane takes new work.
    third = asyncio.create_task(batcher.submit([("c", 1)]))
    await asyncio.sleep(0.05)
    engine.running["c"].set()
    assert await third == ["C"]


async def test_an_engine_that_is_gone_says_so_and_no_note_is_blamed(batcher: Batcher[str, str], engine: Engine) -> None:
    engine.gone = True
    with pytest.raises(EngineUnavailable, match="it ended"):
        await batcher.submit([("a", 1), ("b", 1)])
    engine.gone = False
    asked = asyncio.create_task(batcher.submit([("c", 1)]))
    await asyncio.sleep(0.05)
    engine.running["c"].set()
    assert await asked == ["C"]


async def test_a_lane_that_is_cancelled_with_its_request_ends(engine: Engine) -> None:
    """As all tasks are when an event loop is closed. A lane that went on would be waited for for ever."""
    batcher = Batcher[str, str](
        "test", engine.run, metrics=Metrics(), health=ForwardHealth(60), turn=asyncio.Semaphore(1), abandons=True,
        max_batch_tokens=10, max_batch_size=1, max_queue_tokens=100,
    )  # fmt: skip
    batcher.start()
    request = asyncio.create_task(batcher.submit([("a", 1)]))
    while "a" not in engine.running:
        await asyncio.sleep(0)
    (lane,) = batcher._tasks
    request.cancel()
    lane.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    assert lane.cancelled()
