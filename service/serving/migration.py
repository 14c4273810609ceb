"""`Migration`: the way of an index from one model to another without a pause."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from notellm.checkpoint import Checkpoint, vector_name_of
from notellm.errors import NoteLLMError
from service.errors import InvalidRequest, MigrationConflict, ServiceError
from service.index import Description, ModelVectors, Move, NoteIndex
from service.observability import Metrics
from service.serving import model_manager
from service.serving.migration_status import MigrationStatus
from service.serving.model_manager import ModelManager
from service.serving.serial_changes import SerialChanges, cancel
from service.serving.served import ModelOpener, ServedModel
from service.serving.states import Unfit

logger = logging.getLogger(__name__)
# Between two attempts at what has failed before.
LONGEST_PAUSE_SECONDS = 300.0
_NOT_FOLLOWED = "the state of the migration cannot be followed"


class Migration:
    """Which model answers; while there are two, both are loaded.

    Notes are stored with vectors of both then, a back-fill adds what is missing, and either can answer. Where it stands is noted down in
    the index, so that it outlives the process.

    Make one with `Migration.open`.
    """

    def __init__(self, models: ModelManager, index: NoteIndex, home: Checkpoint) -> None:
        self._models = models
        self._index = index
        self._home = home
        self._changes = SerialChanges()
        self._loading: asyncio.Task[None] | None = None
        self._target: ModelVectors | None = None
        self._error: str | None = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls, opener: ModelOpener, index: NoteIndex, home: Checkpoint, metrics: Metrics
    ) -> "AsyncIterator[Migration]":
        """Loads the model that answers, and the other one if a migration is under way.

        Args:
            opener: of models.
            index: that holds vectors of `home`.
            home: the checkpoint of the settings.
            metrics: say which model is served.

        Raises:
            CheckpointError, StartupError: the model that answers cannot be loaded.
        """
        async with ModelManager.open(opener, index, home, metrics) as models:
            migration = cls(models, index, home)
            following = asyncio.create_task(migration._follow())
            try:
                yield migration
            finally:
                await cancel(following, migration._loading)
                await migration._changes.close()  # where a change was is noted down in the index: the next start goes on

    @property
    def served(self) -> ServedModel:
        """The model that answers."""
        return self._models.state.served

    @property
    def unfit(self) -> str | None:
        """Why this process must not answer: another model should."""
        state = self._models.state
        return state.reason if isinstance(state, Unfit) else None

    async def status(self) -> MigrationStatus:
        """Where it stands."""
        state = self._models.state
        move, other = state.description.migration, state.description.other
        fills = [model.back_fill for model in state.loaded]
        stopped = [fill.error for fill in fills if fill.error] if move else []
        return MigrationStatus(
            "loading" if self._is_loading else state.phase,
            move,
            await state.served.notes.count(),
            await self._index.of_model(other.vector).count(lacking=True) if other else 0,
            sum(fill.filled for fill in fills),
            sum(fill.failed for fill in fills),
            state.error or self._error or next(iter(stopped), None),
        )

    async def start(self, path: Path, share: float) -> None:
        """Begins to move to the model of a checkpoint, or goes on; loading and filling go on in the background.

        Args:
            path: of the checkpoint, on this machine.
            share: of the time that back-fills work; see `BackFill`.

        Raises:
            InvalidRequest: it is no checkpoint, or the one that is served.
            MigrationConflict: another migration is under way.
        """
        target = await _vectors_of(path)
        async with self._changes.lock:
            await self._models.catch_up()
            description = self._models.state.description
            if description.migration is None and target.vector == description.vector:
                raise InvalidRequest.of("checkpoint", "served", f"{target.vector} is served already")
            _check_alone(description, target)
            if self._is_loading and self._target and self._target.vector != target.vector:
                raise MigrationConflict(f"{self._target.vector} is being loaded: wait until it is there, and cancel it")
            self._set_share(share)
            if self._is_loading:
                return
            self._error, self._target = None, target
            self._loading = asyncio.create_task(self._load(target, share))

    async def switch(self, *, force: bool = False) -> None:
        """Lets the new model answer. Requests that have begun are finished by the old one.

        Raises:
            MigrationConflict: there is none, or notes lack a vector of it and would not be found (unless `force`).
        """
        await self._changes.make(lambda: self._answer_by("target", force=force))

    async def roll_back(self, *, force: bool = False) -> None:
        """Lets the old model answer again. Raises `MigrationConflict` as `switch` does."""
        await self._changes.make(lambda: self._answer_by("source", force=force))

    async def finish(self) -> None:
        """Drops the old model and its vectors. There is no way back.

        Raises:
            MigrationConflict: the new one does not answer yet, or notes cannot have a vector of it.
        """
        await self._changes.make(lambda: self._end(switched=True))

    async def cancel(self) -> None:
        """Drops the new model and its vectors.

        Raises:
            MigrationConflict: it answers already, or notes cannot have a vector of the old one.
        """
        await self._changes.make(lambda: self._end(switched=False))

    def views(self) -> tuple[NoteIndex, NoteIndex]:
        """The notes by the vectors of the old and of the new model.

        Raises:
            MigrationConflict: there is no migration.
        """
        move = self._underway()
        return self._index.of_model(move.source.vector), self._index.of_model(move.target.vector)

    @property
    def _is_loading(self) -> bool:
        return self._loading is not None and not self._loading.done()

    def _set_share(self, share: float) -> None:
        for model in self._models.state.loaded:
            model.back_fill.share = share

    def _underway(self) -> Move:
        if (move := self._models.state.description.migration) is None:
            raise MigrationConflict("there is no migration: begin one with `notellm-serve migrate --to CHECKPOINT`")
        return move

    async def _answer_by(self, which: Literal["source", "target"], *, force: bool) -> None:
        await self._models.catch_up()
        move, description = self._underway(), self._models.state.description
        model = move.source if which == "source" else move.target
        if description.vector != model.vector:
            await self._models.check_complete(model, force=force)
            await self._models.become(description.answering(model))

    async def _load(self, target: ModelVectors, share: float) -> None:
        """The way to two models, in the background: a model takes its time."""
        try:
            await self._models.prepare(target)
            async with self._changes.lock:
                await self._models.catch_up()
                await self._models.drop()  # what a migration before has left; the target may be among it
                description = self._models.state.description
                _check_alone(description, target)
                served = description.served
                if description.migration is None and served.vector == target.vector:
                    return  # another process was faster
                if served.checkpoint is None:
                    served = served.model_copy(update={"checkpoint": str(self._home.path.resolve())})
                moving = Move(source=description.migration.source if description.migration else served, target=target)
                await self._models.become(description.model_copy(update={"migration": moving, "checkpoint": None}))
                self._set_share(share)
        except Exception as error:  # whatever a library raises: nobody waits for this task
            self._error = str(error) or type(error).__name__
            logger.exception("the migration has not begun")
            await self._models.abandon()

    async def _end(self, *, switched: bool) -> None:
        """From the second step on no note gets a vector of the other model; what is missing by then is filled in before the third."""
        await self._models.catch_up()
        move = self._underway()
        if self._models.state.description.switched != switched:
            wrong = (
                "does not answer yet: switch first, or cancel" if switched else "answers already: roll back first, or finish"
            )
            raise MigrationConflict(f"the new model {wrong}")
        keep, drop = (move.target, move.source) if switched else (move.source, move.target)
        await self._models.complete()
        await self._models.become(
            Description(vector=keep.vector, dimensions=keep.dimensions, checkpoint=keep.checkpoint, dropping=drop.vector)
        )
        await self._models.drop()

    async def _follow(self) -> None:
        """Does what another process over the same index has decided, and tries again what could not be done."""
        clock = asyncio.get_running_loop().time
        tried: Description | None = None
        pause = again = 0.0
        while True:
            await asyncio.sleep(model_manager.FOLLOW_SECONDS)
            try:
                async with self._changes.lock:  # read in here: what was read before a change of this process must not undo it
                    description = await self._index.describe()
                    if description == self._models.state.description and not self._models.state.incomplete:
                        continue
                    if description != tried:
                        pause = model_manager.FOLLOW_SECONDS
                    elif clock() < again:
                        continue
                    tried, again, pause = description, clock() + pause, min(2 * pause, LONGEST_PAUSE_SECONDS)
                    await self._models.follow(description)
                    await self._models.drop()
            except ServiceError as error:
                logger.warning(_NOT_FOLLOWED, extra={"reason": error.detail})
            except Exception:  # nobody waits for it: it must not end without a word
                logger.exception(_NOT_FOLLOWED)


def _check_alone(description: Description, target: ModelVectors) -> None:
    move = description.migration
    if move and move.target.vector != target.vector:
        raise MigrationConflict(f"a migration to {move.target.vector} is under way: finish it, or cancel it")


async def _vectors_of(path: Path) -> ModelVectors:
    """Of the checkpoint in a directory. Raises `InvalidRequest` where there is none."""
    try:
        checkpoint = await asyncio.to_thread(lambda: Checkpoint.open(path.resolve(), verify="size"))
    except (NoteLLMError, OSError, ValueError) as error:  # the path itself may be none, or one that may not be looked at
        raise InvalidRequest.of("checkpoint", "not_a_checkpoint", str(error)) from error
    return ModelVectors(
        vector=vector_name_of(checkpoint), dimensions=checkpoint.manifest.dimensions, checkpoint=str(checkpoint.path)
    )
