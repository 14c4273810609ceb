"""What the batcher's tests ask with."""

import asyncio
import math

from service.caller import Caller, caller
from service.queueing.batcher import Batcher


def submit(batcher: Batcher[str, str], works: list[tuple[str, int]], asking: Caller) -> "asyncio.Task[list[str]]":
    """Submits for somebody, as the task of a request does."""

    async def request() -> list[str]:
        caller.set(asking)
        return await batcher.submit(works)

    return asyncio.create_task(request())


def piece(batcher: Batcher[str, str], word: str, seconds: float = math.inf) -> "asyncio.Task[list[str]]":
    deadline = asyncio.get_running_loop().time() + seconds
    return submit(batcher, [(word, len(word))], Caller("anna", deadline=deadline))
