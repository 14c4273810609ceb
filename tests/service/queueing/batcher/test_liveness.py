"""What liveness makes of batches that fail or hang."""

import asyncio

import pytest

from service.errors import ModelFailed
from service.observability import ForwardHealth, Liveness
from tests.clock import VirtualTime
from tests.service.queueing.batcher.conftest import Model, Start


async def test_idle_is_healthy_and_so_is_one_poisonous_note(start: Start, virtual_time: VirtualTime) -> None:
    health = ForwardHealth(stall_seconds=0.05, clock=virtual_time)
    batcher = start(health)
    liveness = Liveness({"test": (health, lambda: batcher.canary("canary"))}, canary_seconds=5)
    await asyncio.sleep(0.1)
    assert await liveness.failure() is None
    with pytest.raises(ModelFailed):
        await batcher.submit([("poison", 1)])
    await asyncio.sleep(0.1)
    assert health.doubtful
    assert await liveness.failure() is None  # the canary lived
    assert not health.doubtful


async def test_a_hanging_model_is_noticed(start: Start, model: Model, virtual_time: VirtualTime) -> None:
    health = ForwardHealth(stall_seconds=0.05, clock=virtual_time)
    batcher = start(health)
    liveness = Liveness({"embed": (health, lambda: batcher.canary("canary"))}, canary_seconds=0.2)
    model.gate.clear()
    stuck = asyncio.create_task(batcher.submit([("stuck", 1)]))
    await asyncio.sleep(0.1)
    failure = await liveness.failure()
    assert failure is not None
    assert "embed: no forward pass finished" in failure
    model.gate.set()
    await stuck
    await asyncio.sleep(0.05)
    assert await liveness.failure() is None


async def test_a_model_that_only_fails_is_noticed(start: Start, virtual_time: VirtualTime) -> None:
    health = ForwardHealth(stall_seconds=0.05, clock=virtual_time)
    batcher = start(health)
    liveness = Liveness({"embed": (health, lambda: batcher.canary("poison"))}, canary_seconds=5)
    with pytest.raises(ModelFailed):
        await batcher.submit([("poison", 1)])
    await asyncio.sleep(0.1)
    assert "a canary failed too (ModelFailed)" in str(await liveness.failure())


async def test_a_busy_queue_is_no_illness(start: Start, model: Model, virtual_time: VirtualTime) -> None:
    health = ForwardHealth(stall_seconds=0.0, clock=virtual_time)
    batcher = start(health)
    liveness = Liveness({"embed": (health, lambda: batcher.canary("canary"))}, canary_seconds=5)
    model.gate.clear()
    first = asyncio.create_task(batcher.submit([("first", 90)]))
    await asyncio.sleep(0.05)
    waiting = asyncio.create_task(batcher.submit([(f"w{number}", 5) for number in range(20)]))
    probe = asyncio.create_task(liveness.failure())
    await asyncio.sleep(0.05)
    model.gate.set()
    assert await probe is None
    await asyncio.gather(first, waiting)
    assert model.batches[1][0] == "canary"
