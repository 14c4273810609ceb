"""What is refused, left out or cut short for the sake of deadlines."""

import asyncio
from collections.abc import Sequence

import pytest

from service.caller import Caller
from service.errors import DeadlineExceeded, QueueFull
from service.queueing.batcher import Batcher
from tests.service.queueing.batcher.asking import piece, submit
from tests.service.queueing.batcher.conftest import Model, Start


async def test_a_request_that_would_miss_its_deadline_is_refused_at_once(start: Start, model: Model) -> None:
    batcher = start()
    model.gate.clear()
    slow = submit(batcher, [("slow", 10), ("next", 10)], Caller("anna"))
    await asyncio.sleep(1)
    model.gate.set()
    await slow  # 10 tokens took 1 s while more were waiting, and 10 next to no time
    model.gate.clear()
    running, waiting = submit(batcher, [("r", 10)], Caller("anna")), submit(batcher, [("w", 50)], Caller("anna"))
    await asyncio.sleep(0.05)
    now = asyncio.get_running_loop().time()
    with pytest.raises(QueueFull, match="past the request's deadline"):
        await submit(batcher, [("a", 10)], Caller("anna", deadline=now + 2.5))
    other = submit(batcher, [("b", 10)], Caller("bert", deadline=now + 2.5))  # whose turn comes sooner
    await asyncio.sleep(0.05)
    model.gate.set()
    assert list(await asyncio.gather(running, waiting, other)) == [["R"], ["W"], ["B"]]


async def test_an_idle_engine_is_not_taken_for_a_slow_one(start: Start, model: Model) -> None:
    batcher = start()
    model.gate.clear()
    alone = submit(batcher, [("alone", 1)], Caller("anna"))
    await asyncio.sleep(0.3)
    model.gate.set()
    await alone  # a batch of one token: its 0.3 s say nothing about a full one
    model.gate.clear()
    running, waiting = submit(batcher, [("r", 10)], Caller("anna")), submit(batcher, [("w", 10)], Caller("anna"))
    await asyncio.sleep(0.05)
    now = asyncio.get_running_loop().time()
    other = submit(batcher, [("o", 10)], Caller("anna", deadline=now + 1))
    await asyncio.sleep(0.05)
    model.gate.set()
    assert list(await asyncio.gather(running, waiting, other)) == [["R"], ["W"], ["O"]]


@pytest.fixture
async def slow(start: Start) -> Batcher[str, str]:
    """Takes a tenth of a second a token, and has been seen to."""

    async def run(works: Sequence[str]) -> list[str]:
        batches.append(list(works))
        await asyncio.sleep(0.1 * sum(map(len, works)))
        return [work.upper() for work in works]

    batches: list[list[str]] = []
    batcher = start(run=run)
    batcher.batches = batches  # type: ignore[attr-defined]
    await batcher.submit([("aaaaaaaa", 8), ("bbb", 3)])
    batches.clear()
    return batcher


async def test_what_runs_is_waited_for_too(slow: Batcher[str, str]) -> None:
    running = piece(slow, "rrrrrrrrrr")  # for a second; nothing waits behind it
    await asyncio.sleep(0.05)
    with pytest.raises(QueueFull, match="past the request's deadline"):
        await piece(slow, "a", seconds=0.8)
    assert list(await asyncio.gather(running, piece(slow, "b", seconds=5))) == [["RRRRRRRRRR"], ["B"]]


async def test_a_batch_is_no_longer_than_its_most_urgent_member_can_wait(slow: Batcher[str, str]) -> None:
    running = piece(slow, "rrrr")
    await asyncio.sleep(0.05)
    urgent = piece(slow, "uuu", seconds=1.45)  # 1.1 s are left when its turn comes: 6 tokens are begun, 9 would be a risk
    patient = [piece(slow, "ppp"), piece(slow, "qqq")]
    await asyncio.gather(running, urgent, *patient)
    assert slow.batches == [["rrrr"], ["uuu", "ppp"], ["qqq"]]  # type: ignore[attr-defined]


async def measured(start: Start, model: Model, *, seconds: float) -> Batcher[str, str]:
    """A batcher of two tokens a batch, which has been seen to take so long for one."""
    batcher = start(max_batch_tokens=2)
    model.gate.clear()
    running = submit(batcher, [("mm", 2), ("nn", 2)], Caller("anna"))
    await asyncio.sleep(seconds)
    model.gate.set()
    await running
    model.batches.clear()
    return batcher


async def test_what_cannot_be_done_in_time_any_more_is_not_begun(start: Start, model: Model) -> None:
    batcher = await measured(start, model, seconds=0.4)
    model.gate.clear()
    running = piece(batcher, "rr")
    await asyncio.sleep(0.05)
    late, patient = piece(batcher, "ll", seconds=1.5), piece(batcher, "pp")
    await asyncio.sleep(1.45)  # the running batch takes far longer than forecast, and leaves 0.05 s
    model.gate.set()
    with pytest.raises(DeadlineExceeded, match="X-Request-Timeout"):
        await late
    assert list(await asyncio.gather(running, patient)) == [["RR"], ["PP"]]
    assert model.batches == [["rr"], ["pp"]]


async def test_what_waits_alone_runs_whatever_was_forecast(start: Start, model: Model) -> None:
    batcher = await measured(start, model, seconds=1)
    assert await piece(batcher, "aa", seconds=0.3) == ["AA"]  # in an idle engine, and although 2 tokens took far longer before
    deadline = asyncio.get_running_loop().time() + 0.3
    several = [("bb", 2), ("cc", 2), ("dd", 2)]
    assert await submit(batcher, several, Caller("anna", deadline=deadline)) == ["BB", "CC", "DD"]


async def test_the_rest_of_a_request_that_is_late_is_not_begun_either(start: Start, model: Model) -> None:
    batcher = await measured(start, model, seconds=0.4)
    model.gate.clear()
    running = piece(batcher, "rr")
    await asyncio.sleep(0.05)
    deadline = asyncio.get_running_loop().time() + 2.5
    late = submit(batcher, [("l1", 2), ("l2", 2), ("l3", 2)], Caller("anna", deadline=deadline))
    patient = piece(batcher, "pp")
    await asyncio.sleep(2.45)
    model.gate.set()
    with pytest.raises(DeadlineExceeded):
        await late
    assert list(await asyncio.gather(running, patient)) == [["RR"], ["PP"]]
    assert model.batches == [["rr"], ["pp"]]
