"""`ThreadedEngine`: an engine of this process behind two threads, so that embedding and generation run beside each other."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from notellm.ranking import RankedChoice
from service.engines.base import BlockingEngine, Generation, GenerationRequest, RankingRequest


class ThreadedEngine:
    """One thread embeds, the other generates and ranks, each one batch after another.

    Args:
        engine: what computes.
    """

    lanes = rank_lanes = 1

    def __init__(self, engine: BlockingEngine) -> None:
        self.name = engine.name
        self._engine = engine
        self._embedding = ThreadPoolExecutor(1, "embed")
        self._generating = ThreadPoolExecutor(1, "generate")

    async def embed(self, prompts: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        """See `Engine.embed`."""
        return await asyncio.get_running_loop().run_in_executor(self._embedding, self._engine.embed, prompts)

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """See `Engine.generate`."""
        return await asyncio.get_running_loop().run_in_executor(self._generating, self._engine.generate, requests)

    async def rank(self, requests: Sequence[RankingRequest]) -> list[list[RankedChoice]]:
        """See `Engine.rank`."""
        return await asyncio.get_running_loop().run_in_executor(self._generating, self._engine.rank, requests)

    def failure(self) -> str | None:
        """Liveness looks after this engine: it ends with the process."""
        return None

    async def close(self) -> None:
        """Waits for the threads."""
        await asyncio.to_thread(self._embedding.shutdown)
        await asyncio.to_thread(self._generating.shutdown)
