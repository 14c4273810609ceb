"""`EngineQueues`: the batchers in front of one engine, and the check that the engine still runs."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from notellm.hashtags import choice_pattern
from notellm.note import NoteText
from notellm.prompt import NotePrompt
from notellm.trie import TokenTrie
from service.engines import Engine, Generation, GenerationRequest, Ranking, RankingRequest
from service.index import Vector
from service.observability import ForwardHealth, Liveness, Metrics
from service.queueing.batcher import Batcher
from service.settings import Settings

Ids = Sequence[int]


@dataclass(frozen=True)
class EngineQueues:
    """One queue per kind of work, and the liveness check that watches them."""

    embeddings: Batcher[Ids, Vector]
    generations: Batcher[GenerationRequest, Generation]
    rankings: Batcher[RankingRequest, Ranking]
    liveness: Liveness


@asynccontextmanager
async def open_queues(engine: Engine, prompt: NotePrompt, settings: Settings, metrics: Metrics) -> AsyncIterator[EngineQueues]:
    """Starts the queues as the engine's `queue_policy` says. On exit, they finish the accepted work."""

    async def embed(prompts: Sequence[Ids]) -> Sequence[Vector]:
        return list(await engine.embed(prompts))

    async with AsyncExitStack() as stack:
        embed_health, generate_health, rank_health = (ForwardHealth(settings.stall_seconds) for _ in range(3))
        embeddings = Batcher[Ids, Vector](
            "embed", embed, metrics=metrics, health=embed_health, turn=asyncio.Lock(),
            max_batch_tokens=settings.max_batch_tokens, max_batch_size=settings.max_batch_tokens,
            max_queue_tokens=settings.max_queue_tokens,
        )  # fmt: skip
        policy = engine.queue_policy
        generate_turn = asyncio.Semaphore(policy.generation_lanes)
        rank_lanes = policy.ranking_lanes or policy.generation_lanes
        rank_turn = asyncio.Semaphore(rank_lanes) if policy.ranking_lanes else generate_turn
        generations = Batcher[GenerationRequest, Generation](
            "generate", engine.generate, metrics=metrics, health=generate_health, turn=generate_turn,
            lanes=policy.generation_lanes, abandons=policy.abandons, max_batch_tokens=settings.max_queue_tokens,
            max_batch_size=1 if policy.merges else settings.max_generation_notes, max_queue_tokens=settings.max_queue_tokens,
        )  # fmt: skip
        # Two prompts of each note are ranked, for hashtags and a category. Few at once, because their keys and values are kept, and
        # because a generation that takes turns with rankings waits for one batch of them.
        rankings = Batcher[RankingRequest, Ranking](
            "rank", engine.rank, metrics=metrics, health=rank_health, turn=rank_turn,
            lanes=rank_lanes, abandons=policy.abandons, max_batch_tokens=2 * settings.max_batch_tokens,
            max_batch_size=2 * settings.max_generation_notes if policy.ranks_together else 1,
            max_queue_tokens=settings.max_queue_tokens,
        )  # fmt: skip
        ids, generation, ranking = _canaries(prompt)
        watched = {
            "embed": (embed_health, lambda: embeddings.canary(ids)),
            "generate": (generate_health, lambda: generations.canary(generation)),
            "rank": (rank_health, lambda: rankings.canary(ranking)),
        }
        for queue in (embeddings, generations, rankings):
            queue.start()
            stack.push_async_callback(queue.close)
        yield EngineQueues(embeddings, generations, rankings, Liveness(watched, settings.canary_seconds))


def _canaries(prompt: NotePrompt) -> tuple[Ids, GenerationRequest, RankingRequest]:
    """Returns the smallest piece of work for each queue."""
    ids = prompt.embedding(prompt.tokenize([NoteText(title="canary")])[0])
    generation = GenerationRequest(tuple(ids), choice_pattern(["canary"], lead=""), 1)
    return ids, generation, RankingRequest(tuple(ids), TokenTrie([ids[:1]], prompt.emb_token_id), 1)
