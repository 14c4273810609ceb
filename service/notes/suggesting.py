"""`suggest`: asks an engine and an index a question about hashtags, all at once, and reads the answers."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from service.index import ScoredNote
from service.notes.suggestions import Question, Suggestions
from service.queueing import EngineQueues, Ids

Near = Callable[[Sequence[Ids]], Awaitable[list[list[ScoredNote]]]]
"""Finds the nearest stored notes of embedding prompts; nothing at all if they cannot be found now."""


async def suggest(asked: Question, queues: EngineQueues, near: Near) -> list[Suggestions]:
    """Returns the suggestions for each note of the question.

    Args:
        asked: the question.
        queues: the queues in front of the engine.
        near: finds stored notes.

    Raises:
        QueueFull, ModelFailed, EngineUnavailable: see `Batcher.submit`.
    """
    to_rank = [(request, request.tokens) for request in asked.rankings]
    to_generate = [(request, request.tokens) for request in asked.generations]
    to_embed = [asked.prompt.embedding(note) for note in asked.tokenized] if asked.asks_neighbours else []
    # Ask all queues before giving work to any: a request that is refused must not compute anything.
    queues.rankings.admit([cost for _, cost in to_rank])
    queues.generations.admit([cost for _, cost in to_generate])
    queues.embeddings.admit(list(map(len, to_embed)))
    ranking = asyncio.create_task(queues.rankings.submit(to_rank))
    generating = asyncio.create_task(queues.generations.submit(to_generate))
    finding = asyncio.create_task(_found(to_embed, near))
    try:
        ranked, generated, found = await asyncio.gather(ranking, generating, finding)
    finally:
        for task in (ranking, generating, finding):
            task.cancel()
    return await asyncio.to_thread(asked.read, ranked, generated, found)


async def _found(prompts: Sequence[Ids], near: Near) -> list[list[ScoredNote]]:
    return await near(prompts) if prompts else []
