"""Asks the engine for suggestions through its queues, looks for stored notes that vote, and reads the answers."""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from service.index import Vector
from service.notes.suggestions import Question, Suggestions
from service.notes.vectors import finite
from service.notes.voters import Voters
from service.queueing import EngineQueues


@dataclass(frozen=True)
class Answer:
    """The suggestions for each note of a question, and the notes' vectors if the question wants or needs them."""

    suggestions: list[Suggestions]
    vectors: Sequence[Vector]


async def suggest(asked: Question, queues: EngineQueues, voters: Voters, ids: Sequence[str] = ()) -> Answer:
    """Returns the suggestions for each note of the question.

    Args:
        asked: the question.
        queues: the queues in front of the engine.
        voters: finds stored notes.
        ids: the ids of the notes: what is stored under its own id does not vote for a note. Empty for notes without ids.

    Raises:
        QueueFull, ModelFailed, EngineUnavailable: see `Batcher.submit`.
    """
    to_rank = [(request, request.tokens) for request in asked.rankings]
    to_generate = [(request, request.tokens) for request in asked.generations]
    to_embed = [(prompt, len(prompt)) for prompt in asked.embeddings]
    # Ask all queues before giving work to one: a request that is refused must not compute anything.
    queues.rankings.admit([cost for _, cost in to_rank])
    queues.generations.admit([cost for _, cost in to_generate])
    queues.embeddings.admit([cost for _, cost in to_embed])
    ranked, generated, embedded = await _all(
        queues.rankings.submit(to_rank), queues.generations.submit(to_generate), queues.embeddings.submit(to_embed)
    )
    vectors = finite(asked.vectors(ranked) or embedded)
    found = await voters.near(vectors, ids) if asked.asks_neighbours and vectors else []
    return Answer(await asyncio.to_thread(asked.read, ranked, generated, found), vectors)


async def _all(*work: Coroutine[Any, Any, list[Any]]) -> list[list[Any]]:
    """Runs work side by side. If one part fails, the others are given up."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
