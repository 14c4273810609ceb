"""`open_service`: builds a running service from the settings, and closes it in order."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from notellm.checkpoint import Checkpoint
from notellm.hashtags import HashtagRules
from service.engines import Engine
from service.errors import StartupError
from service.index import NoteIndex, open_index
from service.note_map import NoteMap
from service.notes import LiveHashtags, NoteArchive
from service.observability import Liveness, Metrics, Readiness
from service.security import KeyFile
from service.serving.migration import Migration
from service.serving.served import ModelOpener, ServedModel
from service.serving.state_metrics import StateCollector
from service.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Runtime:
    """A running service, with everything that the operations endpoints show.

    A request that works with the model reads `served` only once: the next read may return another model.

    Attributes:
        index: the index with the vectors of the checkpoint in the settings.
        migration: knows which model answers.
        metrics: the metrics of the whole service.
        keys: the API keys; None if the service needs no keys.
        readiness: checks whether the index answers.
        note_map: the map of all notes; None without the playground.
    """

    index: NoteIndex
    migration: Migration
    metrics: Metrics
    keys: KeyFile | None
    readiness: Readiness
    note_map: NoteMap | None

    @property
    def served(self) -> ServedModel:
        """The model that answers."""
        return self.migration.served

    @property
    def engine(self) -> Engine:
        """The engine that runs the model that answers."""
        return self.served.engine

    @property
    def archive(self) -> NoteArchive:
        """The index with the vectors of the model that answers, for backups."""
        return self.served.archive

    @property
    def liveness(self) -> Liveness:
        """Checks whether the model that answers still runs."""
        return self.served.liveness


@asynccontextmanager
async def open_service(settings: Settings) -> AsyncIterator[Runtime]:
    """Loads the checkpoint, opens the index and starts the queues. On exit, finishes accepted work and closes everything.

    Raises:
        CheckpointError: the checkpoint is not usable.
        StartupError: the index or the key file is not usable.
    """
    rules = await asyncio.to_thread(_rules, settings)
    checkpoint = await asyncio.to_thread(Checkpoint.open, settings.checkpoint, verify=settings.verify_checkpoint)
    async with AsyncExitStack() as stack:
        metrics = Metrics()
        file = settings.api_keys_file
        keys = await stack.enter_async_context(KeyFile.open(file, metrics)) if file else None
        index = await open_index(settings, checkpoint)
        stack.push_async_callback(index.close)
        metrics.index_notes.set(stored := await index.count())
        if warning := index.size_warning(stored, settings.embedded_index_notes):
            logger.warning(warning)
        live = await stack.enter_async_context(
            LiveHashtags.open(
                index,
                most=settings.hashtag_vocabulary,
                recent=timedelta(days=days) if (days := settings.hashtag_recent_days) is not None else None,
                every_seconds=settings.hashtag_refresh_seconds,
                metrics=metrics,
            )
        )
        migration = await stack.enter_async_context(
            Migration.open(ModelOpener(settings, rules, live, metrics), index, checkpoint, metrics)
        )
        metrics.registry.register(StateCollector(lambda: migration.served.engine, index))
        manifest = migration.served.checkpoint.manifest
        logger.info(
            "ready",
            extra={
                "model": manifest.name,
                "fingerprint": migration.served.checkpoint.fingerprint,
                "index": index.name,
                "hashtags": migration.served.suggestions.vocabulary_size,
            },
        )

        async def count() -> int:  # uses the model that answers at the time of the call
            return await migration.served.notes.count()

        readiness = Readiness(
            count,
            lambda count: index.size_warning(count, settings.embedded_index_notes),
            warned=warning,
        )
        shown = NoteMap.open(lambda: migration.served.archive) if settings.playground else None
        note_map = await stack.enter_async_context(shown) if shown else None
        yield Runtime(index, migration, metrics, keys, readiness, note_map)


def _rules(settings: Settings) -> HashtagRules:
    """Reads the hashtag rules. Raises `StartupError` if the block list cannot be read."""
    file = settings.hashtag_blocklist
    try:
        blocked = file.read_text(encoding="utf-8").splitlines() if file else []
    except (OSError, ValueError) as error:
        raise StartupError(f"NOTELLM_HASHTAG_BLOCKLIST: {file} cannot be read: {error}") from error
    return HashtagRules.of(blocked, settings.hashtag_min_confidence)
