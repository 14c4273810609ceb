"""`suggest`: asks an engine and an index a question about hashtags, and reads the answers."""

import asyncio

from service.notes.suggestions import Question, Suggestions
from service.notes.voters import Voters
from service.queueing import EngineQueues


async def suggest(asked: Question, queues: EngineQueues, voters: Voters) -> list[Suggestions]:
    """Returns the suggestions for each note of the question.

    Args:
        asked: the question.
        queues: the queues in front of the engine.
        voters: finds stored notes.

    Raises:
        QueueFull, ModelFailed, EngineUnavailable: see `Batcher.submit`.
    """
    to_rank = [(request, request.tokens) for request in asked.rankings]
    to_generate = [(request, request.tokens) for request in asked.generations]
    # Ask both queues before giving work to either: a request that is refused must not compute anything.
    queues.rankings.admit([cost for _, cost in to_rank])
    queues.generations.admit([cost for _, cost in to_generate])
    ranking = asyncio.create_task(queues.rankings.submit(to_rank))
    generating = asyncio.create_task(queues.generations.submit(to_generate))
    try:
        ranked, generated = await asyncio.gather(ranking, generating)
    finally:
        ranking.cancel()
        generating.cancel()
    vectors = asked.vectors(ranked)
    found = await voters.near(vectors) if vectors else []
    return await asyncio.to_thread(asked.read, ranked, generated, found)
