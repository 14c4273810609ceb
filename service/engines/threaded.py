"""`ThreadedEngine`: runs an engine in threads of this process, so that embedding and generation run at the same time."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from service.engines.base import (
    BlockingEngine,
    EngineState,
    Generation,
    GenerationRequest,
    QueuePolicy,
    Ranking,
    RankingRequest,
)

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


async def in_passing_thread(
    function: Callable[Arguments, Result], *arguments: Arguments.args, **named: Arguments.kwargs
) -> Result:
    """Calls a function that computes, in a new thread that ends afterwards.

    OpenMP gives each computing thread a team of worker threads, which lives as long as that thread. If the teams together have more
    threads than there are cores, libgomp's threads sleep at barriers instead of spinning, and every forward pass takes about a sixth
    longer. So only the thread that always computes may keep its team.
    """
    executor = ThreadPoolExecutor(1, "passing")
    try:
        return await asyncio.get_running_loop().run_in_executor(executor, partial(function, *arguments, **named))
    finally:
        executor.shutdown(wait=False)


class ThreadedEngine:
    """One thread embeds batch after batch. Each batch of generation or ranking runs in its own thread at the same time.

    Args:
        engine: computes the results.
    """

    # More threads would share the same cores, and a thread that computes cannot be stopped.
    queue_policy = QueuePolicy(generation_lanes=1, ranking_lanes=None, merges=False, ranks_together=True, abandons=False)

    def __init__(self, engine: BlockingEngine) -> None:
        self.name = engine.name
        self._engine = engine
        self._embedding = ThreadPoolExecutor(1, "embed")

    async def embed(self, prompts: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        """See `Engine.embed`."""
        return await asyncio.get_running_loop().run_in_executor(self._embedding, self._engine.embed, prompts)

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """See `Engine.generate`."""
        return await in_passing_thread(self._engine.generate, requests)

    async def rank(self, requests: Sequence[RankingRequest]) -> list[Ranking]:
        """See `Engine.rank`."""
        return await in_passing_thread(self._engine.rank, requests)

    def failure(self) -> str | None:
        """Always None: the engine works as long as the process does, and liveness checks that."""
        return None

    def state(self) -> EngineState:
        """See `Engine.state`."""
        return EngineState()

    async def close(self) -> None:
        """Waits for the embedding thread; the other threads end with their batches."""
        await asyncio.to_thread(self._embedding.shutdown)
