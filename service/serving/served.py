"""`ServedModel`: one checkpoint, its engine behind queues, and the index with its vectors."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from notellm.checkpoint import MANIFEST, Checkpoint
from notellm.hashtags import HashtagRules
from service.engines import Engine, open_engine
from service.index import NoteIndex
from service.notes import LiveHashtags, NoteArchive, NoteService, SuggestionPrompts
from service.observability import Liveness, Metrics
from service.queueing import SearchLimit, open_queues
from service.settings import Settings


@dataclass(frozen=True)
class ServedModel:
    """A model that can answer. During a migration there are two, which share the same notes.

    Attributes:
        suggestions: asks it for hashtags and categories.
        created: when its checkpoint was written, in seconds since 1970.
    """

    checkpoint: Checkpoint
    engine: Engine
    notes: NoteService
    archive: NoteArchive
    liveness: Liveness
    suggestions: SuggestionPrompts
    created: int

    def with_dual_writes(self, other: "ServedModel") -> "ServedModel":
        """Returns the same model for a migration: it stores notes with the other model's vectors as well."""
        return replace(self, notes=self.notes.with_dual_writes(other.notes))


class ModelOpener:
    """Opens models with the service's settings.

    Args:
        settings: the settings of the service.
        rules: decide which hashtags may be suggested.
        live: the hashtags of the stored notes.
        metrics: shared by all models.
    """

    def __init__(self, settings: Settings, rules: HashtagRules, live: LiveHashtags, metrics: Metrics) -> None:
        self._settings = settings
        self._rules = rules
        self._live = live
        self._metrics = metrics
        self._searches = SearchLimit(settings.max_searches, metrics)

    def read(self, path: str) -> Checkpoint:
        """Opens a checkpoint and verifies it as the settings say.

        Raises:
            CheckpointError: the checkpoint is not usable.
        """
        return Checkpoint.open(path, verify=self._settings.verify_checkpoint)

    @asynccontextmanager
    async def open(self, checkpoint: Checkpoint, index: NoteIndex, *, at_home: bool) -> AsyncIterator[ServedModel]:
        """Loads a model and starts its queues. On exit, finishes accepted work.

        Args:
            checkpoint: the model's checkpoint.
            index: the index with the model's vectors.
            at_home: whether it is the checkpoint in the settings.

        Raises:
            CheckpointError, StartupError: the model cannot be loaded.
        """
        settings = self._settings
        written = (checkpoint.path / MANIFEST).stat().st_mtime
        prompt = await asyncio.to_thread(checkpoint.prompt)
        async with AsyncExitStack() as stack:
            running = await open_engine(settings, checkpoint, prompt, self._metrics.engine_restarts.inc, at_home=at_home)
            stack.push_async_callback(running.close)
            suggestions = await asyncio.to_thread(
                SuggestionPrompts,
                checkpoint.manifest,
                prompt,
                vocabulary=settings.hashtag_vocabulary,
                min_uses=settings.hashtag_min_uses,
                rules=self._rules,
            )
            await stack.enter_async_context(self._live.followed_by(suggestions.learn))
            queues = await stack.enter_async_context(open_queues(running, prompt, settings, self._metrics))
            yield ServedModel(
                checkpoint,
                running,
                NoteService(checkpoint.manifest, prompt, queues, suggestions, index, self._metrics, self._searches),
                NoteArchive(index, checkpoint.manifest.dimensions, self._metrics),
                queues.liveness,
                suggestions,
                int(written),
            )
