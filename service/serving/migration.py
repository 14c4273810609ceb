"""`Migration`: moves an index from one model to another while the service answers requests."""

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
# The longest pause before a failed change is tried again.
LONGEST_PAUSE_SECONDS = 300.0
_NOT_FOLLOWED = "the state of the migration cannot be followed"


class Migration:
    """The operator's commands: start, switch, roll back, finish and cancel. Make an instance with `Migration.open`.

    During a migration two models are loaded. Notes are stored with vectors of both, a back-fill adds the missing vectors, and either
    model can answer. The index holds the state of the migration, so a restarted service resumes it.

    Args:
        models: loads models and holds the state.
        index: holds the state of the migration in its description.
        home: the checkpoint in the settings.
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
            opener: opens models.
            index: holds the vectors of `home`.
            home: the checkpoint in the settings.
            metrics: show which model answers.

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
                await migration._changes.close()  # the index holds the progress: the next start resumes

    @property
    def served(self) -> ServedModel:
        """The model that answers."""
        return self._models.state.served

    @property
    def unfit(self) -> str | None:
        """Why this process must not answer: another model should, and cannot be loaded. None if this process may answer."""
        state = self._models.state
        return state.reason if isinstance(state, Unfit) else None

    async def status(self) -> MigrationStatus:
        """Returns the state of the migration."""
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
        """Begins or resumes a migration to a checkpoint's model. The model is loaded and its vectors are added in the background.

        Args:
            path: directory of the checkpoint on this machine.
            share: share of the time in which back-fills work; see `BackFill`.

        Raises:
            InvalidRequest: the path is not a checkpoint, or its model answers already.
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
                raise MigrationConflict(
                    f"{self._target.vector} is being loaded: wait until it is loaded, then cancel the migration"
                )
            self._set_share(share)
            if self._is_loading:
                return
            self._error, self._target = None, target
            self._loading = asyncio.create_task(self._load(target, share))

    async def switch(self, *, force: bool = False) -> None:
        """Lets the new model answer. The old model finishes the requests that have begun.

        Raises:
            MigrationConflict: there is no migration, the new model is not loaded, or some notes lack its vector and would not be found
                (unless `force`).
        """
        await self._changes.make(lambda: self._answer_by("target", force=force))

    async def roll_back(self, *, force: bool = False) -> None:
        """Lets the old model answer again. Raises `MigrationConflict` as `switch` does."""
        await self._changes.make(lambda: self._answer_by("source", force=force))

    async def finish(self) -> None:
        """Drops the old model and its vectors. There is no way back.

        Raises:
            MigrationConflict: the new model does not answer yet, or cannot embed some of the notes.
        """
        await self._changes.make(lambda: self._end(switched=True))

    async def cancel(self) -> None:
        """Drops the new model and its vectors.

        Raises:
            MigrationConflict: the new model answers already, or the old one cannot embed some of the notes.
        """
        await self._changes.make(lambda: self._end(switched=False))

    def views(self) -> tuple[NoteIndex, NoteIndex]:
        """Returns the index with the vectors of the old model, and the index with those of the new model.

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
        """Loads the target and records the migration. Runs in the background, because loading a model takes long."""
        try:
            await self._models.prepare(target)
            async with self._changes.lock:
                await self._models.catch_up()
                await self._models.drop()  # vectors left by an earlier migration, perhaps old ones of this target
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
        except Exception as error:  # nobody awaits this task, so `status` and the log must show it
            self._error = str(error) or type(error).__name__
            logger.exception("the migration has not begun")
            await self._models.abandon()

    async def _end(self, *, switched: bool) -> None:
        """Adds the missing vectors of the model that stays, records the end, and drops the vectors of the other model.

        Requests in progress may still store notes with only the other model's vector, so `drop` adds missing vectors once more.
        """
        await self._models.catch_up()
        move = self._underway()
        if self._models.state.description.switched != switched:
            wrong = (
                "does not answer yet: switch first, or cancel" if switched else "already answers: roll back first, or finish"
            )
            raise MigrationConflict(f"the new model {wrong}")
        keep, drop = (move.target, move.source) if switched else (move.source, move.target)
        await self._models.complete()
        await self._models.become(
            Description(vector=keep.vector, dimensions=keep.dimensions, checkpoint=keep.checkpoint, dropping=drop.vector)
        )
        await self._models.drop()

    async def _follow(self) -> None:
        """Follows the changes of other processes that use the same index, and tries failed changes again."""
        clock = asyncio.get_running_loop().time
        tried: Description | None = None
        pause = again = 0.0
        while True:
            await asyncio.sleep(model_manager.FOLLOW_SECONDS)
            try:
                async with self._changes.lock:  # read under the lock: an outdated description would undo our own change
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
            except Exception:  # nobody awaits this task, and it must keep running
                logger.exception(_NOT_FOLLOWED)


def _check_alone(description: Description, target: ModelVectors) -> None:
    move = description.migration
    if move and move.target.vector != target.vector:
        raise MigrationConflict(f"a migration to {move.target.vector} is under way: finish it, or cancel it")


async def _vectors_of(path: Path) -> ModelVectors:
    """Returns the index's name for a checkpoint's model. Raises `InvalidRequest` if the directory holds no checkpoint."""
    try:
        checkpoint = await asyncio.to_thread(lambda: Checkpoint.open(path.resolve(), verify="size"))
    except (NoteLLMError, OSError, ValueError) as error:  # the path may be impossible, or not readable by this process
        raise InvalidRequest.of("checkpoint", "not_a_checkpoint", str(error)) from error
    return ModelVectors(
        vector=vector_name_of(checkpoint), dimensions=checkpoint.manifest.dimensions, checkpoint=str(checkpoint.path)
    )
