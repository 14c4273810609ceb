"""`open_service`: everything between the settings and a `NoteService` that answers, and its orderly end."""

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from qdrant_client import AsyncQdrantClient

from notellm.checkpoint import Checkpoint
from notellm.hashtags import choice_pattern
from notellm.note import NoteText
from notellm.prompt import NotePrompt
from notellm.trie import TokenTrie
from service.batcher import Batcher
from service.engines import Engine, Generation, GenerationRequest, LocalEngine, RankingRequest
from service.health import ForwardHealth, Liveness
from service.index import EdgeIndex, NoteIndex, ServerIndex, Vector
from service.metrics import Metrics
from service.notes import Ids, NoteService, Ranking
from service.settings import Settings
from service.suggestions import SuggestionPrompts

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Runtime:
    """A running service and what the operations endpoints show of it."""

    notes: NoteService
    checkpoint: Checkpoint
    engine: Engine
    index: NoteIndex
    metrics: Metrics
    liveness: Liveness


@asynccontextmanager
async def open_service(settings: Settings) -> AsyncIterator[Runtime]:
    """Loads the checkpoint, opens the index, starts the queues; on leaving, finishes accepted work and closes everything.

    Raises:
        CheckpointError: the checkpoint is not usable.
        StartupError: the index is not usable.
    """
    checkpoint = await asyncio.to_thread(Checkpoint.open, settings.checkpoint, verify=settings.verify_checkpoint)
    prompt = await asyncio.to_thread(checkpoint.prompt)
    async with AsyncExitStack() as stack:
        index = await _open_index(settings, checkpoint)
        stack.push_async_callback(index.close)
        engine = await asyncio.to_thread(
            LocalEngine, checkpoint, prompt, max_batch_tokens=settings.max_batch_tokens, threads=settings.threads
        )
        suggestions = await asyncio.to_thread(
            SuggestionPrompts, checkpoint.manifest, prompt, vocabulary=settings.hashtag_vocabulary
        )
        metrics = Metrics()
        manifest = checkpoint.manifest
        metrics.model.info(
            {
                "name": manifest.name,
                "fingerprint": checkpoint.fingerprint,
                "prompt": manifest.prompt.version,
                "engine": engine.name,
            }
        )
        embed_health, generate_health, rank_health = (ForwardHealth(settings.stall_seconds) for _ in range(3))
        embeddings = Batcher[Ids, Vector](
            "embed",
            lambda prompts: list(engine.embed(prompts)),
            executor=stack.enter_context(ThreadPoolExecutor(1, "embed")),
            metrics=metrics,
            health=embed_health,
            max_batch_tokens=settings.max_batch_tokens,
            max_batch_size=settings.max_batch_tokens,
            max_queue_tokens=settings.max_queue_tokens,
        )
        generating = stack.enter_context(ThreadPoolExecutor(1, "generate"))
        generations = Batcher[GenerationRequest, Generation](
            "generate",
            engine.generate,
            executor=generating,
            metrics=metrics,
            health=generate_health,
            max_batch_tokens=settings.max_queue_tokens,
            max_batch_size=settings.max_generation_notes,
            max_queue_tokens=settings.max_queue_tokens,
        )
        # In the thread of generation, note by note: so that neither keeps the other waiting for long.
        rankings = Batcher[RankingRequest, Ranking](
            "rank",
            engine.rank,
            executor=generating,
            metrics=metrics,
            health=rank_health,
            max_batch_tokens=settings.max_queue_tokens,
            max_batch_size=1,
            max_queue_tokens=settings.max_queue_tokens,
        )
        embedding, generation, ranking = _canaries(prompt)
        liveness = Liveness(
            {
                "embed": (embed_health, lambda: embeddings.canary(embedding)),
                "generate": (generate_health, lambda: generations.canary(generation)),
                "rank": (rank_health, lambda: rankings.canary(ranking)),
            },
            settings.canary_seconds,
        )
        for queue in (embeddings, generations, rankings):
            queue.start()
            stack.push_async_callback(queue.close)
        logger.info(
            "ready",
            extra={
                "model": manifest.name,
                "fingerprint": checkpoint.fingerprint,
                "index": index.name,
                "hashtags": suggestions.vocabulary_size,
            },
        )
        yield Runtime(
            NoteService(manifest, prompt, embeddings, generations, rankings, suggestions, index, metrics),
            checkpoint,
            engine,
            index,
            metrics,
            liveness,
        )


async def _open_index(settings: Settings, checkpoint: Checkpoint) -> NoteIndex:
    manifest = checkpoint.manifest
    vector_name = f"{manifest.name}-{checkpoint.fingerprint}"
    if settings.qdrant_url is None:
        directory = settings.data_dir / "index"
        return await asyncio.to_thread(EdgeIndex.open, directory, vector_name=vector_name, dimensions=manifest.dimensions)
    key = settings.qdrant_api_key
    client = AsyncQdrantClient(
        url=settings.qdrant_url,
        api_key=key.get_secret_value() if key else None,
        prefer_grpc=True,
        grpc_port=settings.qdrant_grpc_port,
        timeout=settings.qdrant_timeout_seconds,
        check_compatibility=False,
    )
    return await ServerIndex.open(
        client, collection=settings.qdrant_collection, vector_name=vector_name, dimensions=manifest.dimensions
    )


def _canaries(prompt: NotePrompt) -> tuple[Ids, GenerationRequest, RankingRequest]:
    """The smallest work for each queue."""
    note = prompt.tokenize([NoteText(title="canary")])[0]
    ids = prompt.embedding(note)
    generation = GenerationRequest(tuple(ids), choice_pattern(["canary"], lead=""), 1)
    return ids, generation, RankingRequest(tuple(ids), TokenTrie([ids[:1]], prompt.emb_token_id), 1)
