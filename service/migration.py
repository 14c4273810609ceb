"""`Migration`: which model answers, and the way of an index from one model to another without a pause."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from notellm.checkpoint import Checkpoint
from notellm.errors import NoteLLMError
from service.archive import vector_name_of
from service.changes import Changes
from service.errors import InvalidRequest, MigrationConflict, StartupError
from service.index import NoteIndex
from service.index.description import Description, ModelVectors, Move
from service.loaded import LoadedModels, cancel
from service.metrics import Metrics
from service.migration_status import MigrationStatus, Phase
from service.served import ModelOpener, ServedModel

logger = logging.getLogger(__name__)
# How long other processes over the same index may take to see what one of them has changed.
FOLLOW_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 300.0


class Migration:
    """Which model answers; while there are two, both are loaded.

    Notes are stored with vectors of both then, a back-fill adds what is missing, and either can answer. Where it stands is noted down in
    the index, so that it outlives the process.

    Make one with `Migration.open`.

    Attributes:
        served: the model that answers.
    """

    served: ServedModel
    _description: Description

    def __init__(self, models: LoadedModels, index: NoteIndex, home: Checkpoint, metrics: Metrics) -> None:
        self._models = models
        self._index = index
        self._home = home
        self._metrics = metrics
        self._changes = Changes()
        self._loading: asyncio.Task[None] | None = None
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
        migration = cls(LoadedModels(opener, index, home), index, home, metrics)
        following: asyncio.Task[None] | None = None
        try:
            await migration._begin()
            following = asyncio.create_task(migration._follow())
            yield migration
        finally:
            for task in (following, migration._loading):
                await cancel(task)
            await migration._changes.close()  # where a change was is noted down in the index: the next start goes on
            await migration._models.close()

    async def status(self) -> MigrationStatus:
        """Where it stands."""
        move, other = self._description.migration, self._description.other
        fills = [loaded.back_fill for loaded in self._models.all]
        stopped = [fill.error for fill in fills if fill.error] if move else []
        return MigrationStatus(
            self._phase(),
            move,
            await self.served.notes.count(),
            await self._index.of_model(other.vector).count(lacking=True) if other else 0,
            sum(fill.filled for fill in fills),
            sum(fill.failed for fill in fills),
            self._error or next(iter(stopped), None),
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
        try:
            checkpoint = await asyncio.to_thread(lambda: Checkpoint.open(path.resolve(), verify="size"))
        except NoteLLMError as error:
            raise InvalidRequest.of("checkpoint", "not_a_checkpoint", str(error)) from error
        target = ModelVectors(
            vector=vector_name_of(checkpoint), dimensions=checkpoint.manifest.dimensions, checkpoint=str(checkpoint.path)
        )
        async with self._changes.lock:
            move = self._description.migration
            if move is None and target.vector == self._description.vector:
                raise InvalidRequest.of("checkpoint", "served", f"{target.vector} is served already")
            if move and move.target.vector != target.vector:
                raise MigrationConflict(f"a migration to {move.target.vector} is under way: finish it, or cancel it")
            for loaded in self._models.all:
                loaded.back_fill.share = share
            if self._loading is None or self._loading.done():
                self._error = None
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
            MigrationConflict: the new one does not answer yet.
        """
        await self._changes.make(lambda: self._end(switched=True))

    async def cancel(self) -> None:
        """Drops the new model and its vectors.

        Raises:
            MigrationConflict: it answers already.
        """
        await self._changes.make(lambda: self._end(switched=False))

    def views(self) -> tuple[NoteIndex, NoteIndex]:
        """The notes by the vectors of the old and of the new model.

        Raises:
            MigrationConflict: there is no migration.
        """
        move = self._underway()
        return self._index.of_model(move.source.vector), self._index.of_model(move.target.vector)

    def _phase(self) -> Phase:
        if self._loading is not None and not self._loading.done():
            return "loading"
        if (move := self._description.migration) is None:
            return "none"
        if self._description.switched:
            return "switched"
        target = self._models.find(move.target.vector)
        return "filled" if target and target.back_fill.complete else "filling"

    def _underway(self) -> Move:
        if (move := self._description.migration) is None:
            raise MigrationConflict("there is no migration: begin one with `notellm-serve migrate --to CHECKPOINT`")
        return move

    async def _answer_by(self, which: Literal["source", "target"], *, force: bool) -> None:
        move = self._underway()
        model = move.source if which == "source" else move.target
        if self._description.vector != model.vector:
            self._models.check_complete(model, force=force, reason=self._error)
            await self._become(self._description.answering(model))

    async def _begin(self) -> None:
        description = await self._index.describe()
        try:
            await self._serve(description.served)
        except NoteLLMError as error:
            if description.served.vector == vector_name_of(self._home):
                raise
            raise StartupError(
                f"{description.served.vector} answers from this index, and its checkpoint cannot be opened: {error}. Set "
                "NOTELLM_CHECKPOINT to where it is"
            ) from error
        await self._follow_to(description)

    async def _load(self, target: ModelVectors, share: float) -> None:
        """The way to two models, in the background: a model takes its time."""
        try:
            (await self._models.get(target)).back_fill.share = share
            async with self._changes.lock:
                move, served = self._description.migration, self._description.served
                if served.checkpoint is None:
                    served = served.model_copy(update={"checkpoint": str(self._home.path.resolve())})
                moving = Move(source=move.source if move else served, target=target)
                await self._become(self._description.model_copy(update={"migration": moving, "checkpoint": None}))
        except Exception as error:  # whatever a library raises: nobody waits for this task
            self._error = str(error) or type(error).__name__
            logger.exception("the migration has not begun")

    async def _end(self, *, switched: bool) -> None:
        """From here on no note gets a vector of the other model; those that lack one of the model that stays are filled in first."""
        move = self._underway()
        if self._description.switched != switched:
            wrong = (
                "does not answer yet: switch first, or cancel" if switched else "answers already: roll back first, or finish"
            )
            raise MigrationConflict(f"the new model {wrong}")
        keep, drop = (move.target, move.source) if switched else (move.source, move.target)
        await self._become(
            Description(vector=keep.vector, dimensions=keep.dimensions, checkpoint=keep.checkpoint, dropping=drop.vector)
        )
        if self._index.shared:
            await asyncio.sleep(2 * FOLLOW_SECONDS)
        back_fill = (await self._models.get(keep)).back_fill
        while await back_fill.step():
            pass
        if back_fill.error:
            raise MigrationConflict(f"the old vectors stay until the next start of the service: {back_fill.error}")
        await self._index.drop(drop.vector)
        self._description = await self._index.describe()

    async def _become(self, description: Description) -> None:
        await self._index.describe_as(description)
        await self._follow_to(description)

    async def _follow_to(self, description: Description) -> None:
        """Loads and closes models until those of the description are there, and the right one answers."""
        await self._serve(description.served)
        self._description = description
        companion = await self._companion(description.other) if description.other else None
        self.served.notes.companion = companion.notes if companion else None
        if companion:
            companion.notes.companion = self.served.notes
        for loaded in self._models.all:
            if description.migration:
                loaded.start_filling()
            else:
                await loaded.stop_filling()
        await self._models.keep_only({model.vector for model in description.models})

    async def _companion(self, model: ModelVectors) -> ServedModel | None:
        """The other model; without it the notes of the one that answers go on being stored and found."""
        try:
            companion = (await self._models.get(model)).served
        except Exception as error:  # whatever a library raises: the service goes on without
            self._error = f"{model.vector} cannot be loaded: {error}"
            logger.warning("the migration does not go on here", extra={"reason": self._error})
            return None
        self._error = None
        return companion

    async def _serve(self, model: ModelVectors) -> None:
        self.served = served = (await self._models.get(model)).served
        manifest = served.checkpoint.manifest
        self._metrics.model.info(
            {
                "name": manifest.name,
                "fingerprint": served.checkpoint.fingerprint,
                "prompt": manifest.prompt.version,
                "engine": served.engine.name,
            }
        )

    async def _follow(self) -> None:
        """Does what another process over the same index has decided, and tries again to load what could not be loaded."""
        clock = asyncio.get_running_loop().time
        pause, again = FOLLOW_SECONDS, clock()
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            try:
                async with self._changes.lock:  # read in here: what was read before a change of this process must not undo it
                    description = await self._index.describe() if self._index.shared else self._description
                    if description != self._description:
                        await self._follow_to(description)
                        pause, again = FOLLOW_SECONDS, clock()
                    elif self._lacks_a_model() and clock() >= again:
                        await self._follow_to(description)
                        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                        again = clock() + pause
            except Exception:  # nobody waits for it: it must not end without a word
                logger.exception("the state of the migration cannot be followed")

    def _lacks_a_model(self) -> bool:
        return any(self._models.find(model.vector) is None for model in self._description.models)
