"""`ThreadedEngine`: an engine of this process behind threads, so that embedding and generation run beside each other."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from notellm.ranking import RankedChoice
from service.engines.base import BlockingEngine, EngineState, Generation, GenerationRequest, QueuePolicy, RankingRequest

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


async def in_passing_thread(
    function: Callable[Arguments, Result], *arguments: Arguments.args, **named: Arguments.kwargs
) -> Result:
    """Calls a function that computes, in a thread that ends with it.

    OpenMP gives each thread that has computed a team of others, which lives as long as the thread. While the teams have more
    threads than there are cores, libgomp's do not spin at a barrier but sleep, and every forward pass takes about a sixth longer:
    only the thread that always computes may keep its team.
    """
    executor = ThreadPoolExecutor(1, "passing")
    try:
        return await asyncio.get_running_loop().run_in_executor(executor, partial(function, *arguments, **named))
    finally:
        executor.shutdown(wait=False)


class ThreadedEngine:
    """A thread embeds, one batch after another; each batch of generation or ranking has its own beside it.

    Args:
        engine: what computes.
    """

    # More threads would share the same cores, and a thread that computes cannot be stopped.
    queue_policy = QueuePolicy(generation_lanes=1, ranking_lanes=None, merges=False, abandons=False)

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

    async def rank(self, requests: Sequence[RankingRequest]) -> list[list[RankedChoice]]:
        """See `Engine.rank`."""
        return await in_passing_thread(self._engine.rank, requests)

    def failure(self) -> str | None:
        """Liveness looks after this engine: it ends with the process."""
        return None

    def state(self) -> EngineState:
        """See `Engine.state`."""
        return EngineState()

    async def close(self) -> None:
        """Waits for the thread that embeds; the others end with their batches."""
        await asyncio.to_thread(self._embedding.shutdown)
