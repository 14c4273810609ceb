"""`ModelManager`: loads and closes models as the description in the index says."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from notellm.checkpoint import Checkpoint, vector_name_of
from notellm.errors import NoteLLMError
from service.errors import MigrationConflict, StartupError
from service.index import Description, ModelVectors, NoteIndex
from service.observability import Metrics
from service.serving.loaded_model import LoadedModel, ModelLoader
from service.serving.served import ModelOpener
from service.serving.states import Moving, Prepared, Serving, State, Waiting, alone

logger = logging.getLogger(__name__)
# Other processes that use the same index see a change within this time.
FOLLOW_SECONDS = 5.0


class ModelManager:
    """Holds the state of serving and replaces it. Make an instance with `ModelManager.open`.

    Args:
        state: the first state.
        loader: loads models.
        index: its description says which models to load and which one answers.
        metrics: show which model answers.
    """

    def __init__(self, state: State, loader: ModelLoader, index: NoteIndex, metrics: Metrics) -> None:
        self._state = state
        self._loader = loader
        self._index = index
        self._metrics = metrics
        self._replacing = asyncio.Lock()  # held while a state is replaced, so that no model is loaded twice

    @classmethod
    @asynccontextmanager
    async def open(
        cls, opener: ModelOpener, index: NoteIndex, home: Checkpoint, metrics: Metrics
    ) -> "AsyncIterator[ModelManager]":
        """Loads the model that answers, and the other one if a migration is under way. See `Migration.open`."""
        loader = ModelLoader(opener, index, home)
        description = await index.describe()
        answering = await _load_first(loader, description.served, vector_name_of(home))
        manager = cls(alone(description, answering), loader, index, metrics)
        try:
            await manager.follow(description)
            yield manager
        finally:
            await _close(manager.state.loaded)

    @property
    def state(self) -> State:
        """Which models are loaded, which one answers, and which ones have their missing vectors added."""
        return self._state

    async def catch_up(self) -> None:
        """Follows a change that another process has recorded in the same index. Raises the errors of `follow`."""
        description = await self._index.describe()
        if description != self._state.description:
            await self.follow(description)

    async def become(self, description: Description) -> None:
        """Records a description in the index, and follows it. Raises the errors of `follow`."""
        await self._index.describe_as(description)
        await self.follow(description)

    async def follow(self, description: Description) -> None:
        """Loads and closes models until those in the description are loaded and the right one answers.

        If the model that does not answer cannot be loaded, the state is `Waiting` afterwards.

        Raises:
            CheckpointError, StartupError: the model that should answer cannot be loaded; the state is `Unfit`.
        """
        async with self._replacing:
            answering = await self._load_answering(description.served)
            following = self._state.following(description, answering)
            await self._replace(following)
            if isinstance(following, Waiting):
                await self._replace(await self._load_missing(following))

    async def prepare(self, target: ModelVectors) -> None:
        """Loads the target of a migration that is about to be recorded, or that is waiting for the target.

        Raises:
            CheckpointError, StartupError: the target cannot be loaded.
        """
        async with self._replacing:
            state = self._state
            if isinstance(state, Serving) and not state.find(target):
                await self._replace(Prepared(state.description, state.answering, await self._loader.load(target)))
            elif isinstance(state, Waiting) and state.missing.vector == target.vector:
                await self._replace(state.with_missing(await self._loader.load(target)))

    async def abandon(self) -> None:
        """Closes the target of a migration that was not recorded."""
        async with self._replacing:
            if isinstance(self._state, Prepared):
                await self._replace(self._state.abandoned())

    async def check_complete(self, model: ModelVectors, *, force: bool) -> None:
        """Checks that a model can answer.

        Raises:
            MigrationConflict: the model is not loaded, or some notes lack its vector (unless `force`).
        """
        loaded = self._state.find(model)
        if loaded is None:
            raise MigrationConflict(f"{model.vector} is not loaded here: {self._state.error or 'it is being loaded'}")
        fill = loaded.back_fill
        if not force and not await fill.still_complete():
            failed = f", and {fill.failed} of them cannot be embedded" if fill.failed else ""
            raise MigrationConflict(
                f"notes lack a vector of {model.vector}{failed}, and would not be found: wait until the back-fill is complete, or "
                "force it"
            )

    async def complete(self) -> None:
        """Adds the missing vectors of the model that answers.

        Raises:
            MigrationConflict: some notes cannot be embedded.
        """
        answering = self._state.answering
        await answering.back_fill.fill_all()
        if reason := answering.back_fill.unfinished:
            raise MigrationConflict(f"notes would be left without a vector of {answering.vector_name}: {reason}")

    async def drop(self) -> None:
        """Drops the vectors that the description marks for dropping, once every note has a vector of the model that stays.

        Raises:
            MigrationConflict: some notes cannot have such a vector, so nothing was dropped.
        """
        leaving = self._state.description.dropping
        if leaving is None:
            return
        if self._index.shared:
            await asyncio.sleep(2 * FOLLOW_SECONDS)
        await self.complete()
        await self._index.drop(leaving)
        await self.catch_up()

    async def _load_answering(self, model: ModelVectors) -> LoadedModel:
        try:
            return self._state.find(model) or await self._loader.load(model)
        except Exception as error:
            await self._replace(self._state.unfit(f"{model.vector} should answer but cannot be loaded: {error}"))
            raise

    async def _load_missing(self, state: Waiting) -> Moving | Waiting:
        """Returns the state with the other model. If it cannot be loaded, the model that answers stores and finds notes alone."""
        try:
            return state.with_missing(await self._loader.load(state.missing))
        except Exception as error:  # a library may raise anything: the service goes on without the model
            reason = f"{state.missing.vector} cannot be loaded: {error}"
            logger.warning("this process cannot continue the migration", extra={"reason": reason})
            return replace(state, reason=reason)

    async def _replace(self, state: State) -> None:
        """Replaces the state. Closes models and stops back-fills that only the state before had."""
        before, self._state = self._state, state
        self._show(state.answering)
        for model in state.filling:
            model.back_fill.start()
        async with AsyncExitStack() as ending:
            for model in before.loaded:
                if model not in state.loaded:
                    ending.push_async_callback(model.close)
                elif model not in state.filling:
                    ending.push_async_callback(model.back_fill.stop)

    def _show(self, answering: LoadedModel) -> None:
        checkpoint = answering.served.checkpoint
        self._metrics.model.info(
            {
                "name": checkpoint.manifest.name,
                "fingerprint": checkpoint.fingerprint,
                "prompt": checkpoint.manifest.prompt.version,
                "engine": answering.served.engine.name,
            }
        )


async def _load_first(loader: ModelLoader, model: ModelVectors, home: str) -> LoadedModel:
    try:
        return await loader.load(model)
    except NoteLLMError as error:
        if model.vector == home:
            raise
        raise StartupError(
            f"{model.vector} answers from this index, and its checkpoint cannot be opened: {error}. Set NOTELLM_CHECKPOINT to "
            "its directory"
        ) from error


async def _close(models: Sequence[LoadedModel]) -> None:
    """Closes all models, even if closing one of them fails."""
    async with AsyncExitStack() as closing:
        for model in models:
            closing.push_async_callback(model.close)
