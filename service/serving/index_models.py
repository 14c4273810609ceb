"""`IndexModels`: the models whose vectors an index holds, loaded, and the one that the index names answers."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from notellm.checkpoint import Checkpoint, vector_name_of
from notellm.errors import NoteLLMError
from service.errors import MigrationConflict, StartupError
from service.index import Description, ModelVectors, NoteIndex
from service.observability import Metrics
from service.serving.loaded import Loaded, LoadedModels
from service.serving.served import ModelOpener, ServedModel

logger = logging.getLogger(__name__)
# How long other processes over the same index may take to see what one of them has changed.
FOLLOW_SECONDS = 5.0


class IndexModels:
    """Does what the description of the index says. Make one with `IndexModels.open`.

    Attributes:
        served: the model that answers.
        description: that is followed.
        loaded: the models.
        error: what keeps the other model from being here.
        unfit: why the model that should answer does not: what answers must not, beside others that do as the index says.
    """

    served: ServedModel
    description: Description

    def __init__(self, loaded: LoadedModels, index: NoteIndex, metrics: Metrics) -> None:
        self.loaded = loaded
        self.error: str | None = None
        self.unfit: str | None = None
        self._index = index
        self._metrics = metrics

    @classmethod
    @asynccontextmanager
    async def open(
        cls, opener: ModelOpener, index: NoteIndex, home: Checkpoint, metrics: Metrics
    ) -> "AsyncIterator[IndexModels]":
        """Loads the model that answers, and the other one if a migration is under way. See `Migration.open`."""
        loaded = LoadedModels(opener, index, home)
        models = cls(loaded, index, metrics)
        try:
            await models._begin(vector_name_of(home))
            yield models
        finally:
            await loaded.close()

    @property
    def incomplete(self) -> bool:
        """Whether something is left to be done: a model to be loaded, or vectors to be dropped."""
        missing = any(self.loaded.find(model.vector) is None for model in self.description.models)
        return missing or self.description.dropping is not None

    async def catch_up(self) -> None:
        """Follows what another process over the same index has noted down."""
        description = await self._index.describe()
        if description != self.description:
            await self.follow_to(description)

    async def become(self, description: Description) -> None:
        """Notes a description down, and follows it."""
        await self._index.describe_as(description)
        await self.follow_to(description)

    async def follow_to(self, description: Description) -> None:
        """Loads and closes models until those of the description are there, and the right one answers.

        Raises:
            CheckpointError, StartupError: that one cannot be loaded; the one before goes on.
        """
        try:
            await self._serve(description.served)
        except Exception as error:
            self.unfit = f"{description.vector} should answer and cannot be loaded: {error}"
            raise
        self.unfit = None
        self.description = description
        companion = await self._companion(description.other) if description.other else None
        self.served.notes.companion = companion.notes if companion else None
        if companion:
            companion.notes.companion = self.served.notes
        for loaded in self.loaded.all:
            if description.migration:
                loaded.start_filling()
            else:
                await loaded.stop_filling()
        await self.release()

    async def release(self) -> None:
        """Closes models that the description does not name."""
        await self.loaded.keep_only({model.vector for model in self.description.models})

    async def complete(self, model: ModelVectors) -> None:
        """Gives each note a vector of a model.

        Raises:
            MigrationConflict: some cannot have one.
        """
        back_fill = (await self.loaded.get(model)).back_fill
        await back_fill.fill_all()
        if back_fill.unfinished:
            raise MigrationConflict(f"notes would be left without a vector of {model.vector}: {back_fill.unfinished}")

    async def drop(self) -> None:
        """Drops vectors that are on their way out, when each note has one of the model that stays.

        Raises:
            MigrationConflict: some have none; the vectors stay.
        """
        leaving = self.description.dropping
        if leaving is None:
            return
        if self._index.shared:
            await asyncio.sleep(2 * FOLLOW_SECONDS)
        await self.complete(self.description.served)
        await self._index.drop(leaving)
        self.description = await self._index.describe()

    def find(self, model: ModelVectors) -> Loaded | None:
        """A model, if it is loaded."""
        return self.loaded.find(model.vector)

    async def _begin(self, home: str) -> None:
        description = await self._index.describe()
        try:
            await self.follow_to(description)
        except NoteLLMError as error:
            if description.served.vector == home:
                raise
            raise StartupError(
                f"{description.served.vector} answers from this index, and its checkpoint cannot be opened: {error}. Set "
                "NOTELLM_CHECKPOINT to where it is"
            ) from error

    async def _companion(self, model: ModelVectors) -> ServedModel | None:
        """The other model; without it the notes of the one that answers go on being stored and found."""
        try:
            companion = (await self.loaded.get(model)).served
        except Exception as error:  # whatever a library raises: the service goes on without
            self.error = f"{model.vector} cannot be loaded: {error}"
            logger.warning("the migration does not go on here", extra={"reason": self.error})
            return None
        self.error = None
        return companion

    async def _serve(self, model: ModelVectors) -> None:
        self.served = served = (await self.loaded.get(model)).served
        manifest = served.checkpoint.manifest
        self._metrics.model.info(
            {
                "name": manifest.name,
                "fingerprint": served.checkpoint.fingerprint,
                "prompt": manifest.prompt.version,
                "engine": served.engine.name,
            }
        )
