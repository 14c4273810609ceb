"""The queues in front of an engine do as its `queue_policy` says."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from notellm import Checkpoint
from notellm.trie import TokenTrie
from service.engines import EngineState, Generation, GenerationRequest, QueuePolicy, Ranking, RankingRequest
from service.observability import Metrics
from service.queueing.engine_queues import EngineQueues, open_queues
from service.settings import Settings

ONE_THREAD = QueuePolicy(generation_lanes=1, ranking_lanes=None, merges=False, ranks_together=True, abandons=False)
SERVER = QueuePolicy(generation_lanes=2, ranking_lanes=1, merges=True, ranks_together=False, abandons=True)
# A server of one lane is still a server: it merges by itself, and its rankings take no turns with generations.
SMALL_SERVER = QueuePolicy(generation_lanes=1, ranking_lanes=1, merges=True, ranks_together=True, abandons=True)
GENERATION = GenerationRequest((1, 2), "a", 3)
RANKING = RankingRequest((1, 2), TokenTrie([[3]], 0), 1)


class HeldEngine:
    """Writes down each call and how many requests it brings, and ends none of them before `go_on` is set."""

    name = "held"

    def __init__(self, queue_policy: QueuePolicy) -> None:
        self.queue_policy = queue_policy
        self.running: list[tuple[str, int]] = []
        self.cancelled = 0
        self.go_on = asyncio.Event()

    async def embed(self, prompts: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        return np.zeros((len(prompts), 1), dtype=np.float32)

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        await self._run("generate", len(requests))
        return [Generation((), finished=True) for _ in requests]

    async def rank(self, requests: Sequence[RankingRequest]) -> list[Ranking]:
        await self._run("rank", len(requests))
        return [Ranking([]) for _ in requests]

    async def _run(self, call: str, requests: int) -> None:
        self.running.append((call, requests))
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running.remove((call, requests))

    def failure(self) -> str | None:
        return None

    def state(self) -> EngineState:
        return EngineState()

    async def close(self) -> None:
        self.go_on.set()


def asked_for(work: Coroutine[Any, Any, object]) -> "asyncio.Task[object]":
    """A request that waits for its work."""
    return asyncio.create_task(work)


async def settle() -> None:
    """Lets everything run that can: nothing here waits for time or for a thread."""
    for _ in range(50):
        await asyncio.sleep(0)


@asynccontextmanager
async def queues_of(engine: HeldEngine, tiny: Checkpoint, settings: Settings) -> AsyncIterator[EngineQueues]:
    async with open_queues(engine, tiny.prompt(), settings, Metrics()) as queues:
        try:
            yield queues
        finally:
            engine.go_on.set()


@pytest.mark.parametrize(
    ("policy", "running"),
    [
        (ONE_THREAD, [("generate", 3)]),
        (SERVER, [("generate", 1), ("generate", 1), ("rank", 1)]),
        (SMALL_SERVER, [("generate", 1), ("rank", 2)]),
    ],
    ids=["one thread", "server", "small server"],
)
async def test_as_many_calls_run_as_the_engine_has_lanes(
    policy: QueuePolicy, running: list[tuple[str, int]], tiny: Checkpoint, settings_for: Callable[..., Settings]
) -> None:
    engine = HeldEngine(policy)
    async with queues_of(engine, tiny, settings_for()) as queues:
        asked = [asked_for(queues.generations.submit([(GENERATION, 5)])) for _ in range(3)]
        await settle()
        asked += [asked_for(queues.rankings.submit([(RANKING, 5)])) for _ in range(2)]
        await settle()
        assert sorted(engine.running) == running
    assert all(task.done() for task in asked)


@pytest.mark.parametrize(("policy", "together"), [(ONE_THREAD, 3), (SMALL_SERVER, 1)], ids=["one thread", "small server"])
async def test_requests_that_wait_come_in_one_call_unless_the_engine_merges_them(
    policy: QueuePolicy, together: int, tiny: Checkpoint, settings_for: Callable[..., Settings]
) -> None:
    engine = HeldEngine(policy)
    async with queues_of(engine, tiny, settings_for()) as queues:
        waiting = asyncio.create_task(queues.generations.submit([(GENERATION, 5)] * 3))
        await settle()
        assert engine.running == [("generate", together)]
    assert len(await waiting) == 3


@pytest.mark.parametrize(("policy", "together"), [(SERVER, 1), (SMALL_SERVER, 3)], ids=["server", "small server"])
async def test_rankings_that_wait_come_in_one_call_if_the_engine_computes_them_together(
    policy: QueuePolicy, together: int, tiny: Checkpoint, settings_for: Callable[..., Settings]
) -> None:
    engine = HeldEngine(policy)
    async with queues_of(engine, tiny, settings_for()) as queues:
        waiting = asyncio.create_task(queues.rankings.submit([(RANKING, 5)] * 3))
        await settle()
        assert engine.running == [("rank", together)]
    assert len(await waiting) == 3


@pytest.mark.parametrize(("policy", "cancelled"), [(ONE_THREAD, 0), (SMALL_SERVER, 2)], ids=["one thread", "small server"])
async def test_what_nobody_waits_for_is_cancelled_where_that_frees_the_engine(
    policy: QueuePolicy, cancelled: int, tiny: Checkpoint, settings_for: Callable[..., Settings]
) -> None:
    engine = HeldEngine(policy)
    async with queues_of(engine, tiny, settings_for()) as queues:
        for work in (queues.generations.submit([(GENERATION, 5)]), queues.rankings.submit([(RANKING, 5)])):
            asked = asked_for(work)
            await settle()
            asked.cancel()
            await settle()
        assert engine.cancelled == cancelled
