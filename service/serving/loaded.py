"""`LoadedModels`: the models in this process, one, or two during a migration, each with its back-fill."""

import asyncio
from collections.abc import Collection
from contextlib import AsyncExitStack
from contextvars import Context
from dataclasses import dataclass

from notellm.checkpoint import Checkpoint, vector_name_of
from service.errors import MigrationConflict, StartupError
from service.index import ModelVectors, NoteIndex
from service.serving.back_fill import BackFill
from service.serving.serial_changes import cancel
from service.serving.served import ModelOpener, ServedModel


@dataclass
class Loaded:
    """A model in this process.

    Attributes:
        served: the model.
        back_fill: of its vectors.
        filling: while the back-fill runs.
    """

    served: ServedModel
    back_fill: BackFill
    _stack: AsyncExitStack
    filling: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Ends the back-fill, finishes accepted work, and frees the model."""
        await self.stop_filling()
        await self._stack.aclose()

    def start_filling(self) -> None:
        """Lets the back-fill run."""
        # In a context of its own: it is no part of the request that has begun the migration.
        self.filling = self.filling or asyncio.create_task(self.back_fill.run(), context=Context())

    async def stop_filling(self) -> None:
        """Ends the back-fill."""
        await cancel(self.filling)
        self.filling = None


class LoadedModels:
    """Models by the names of their vectors.

    Args:
        opener: of models.
        index: by the vectors of any of them.
        home: the checkpoint of the settings; others are found where the index says.
    """

    def __init__(self, opener: ModelOpener, index: NoteIndex, home: Checkpoint) -> None:
        self._opener = opener
        self._index = index
        self._home = home
        self._loaded: dict[str, Loaded] = {}
        self._loading = asyncio.Lock()

    @property
    def all(self) -> list[Loaded]:
        """Those that are loaded."""
        return list(self._loaded.values())

    def find(self, vector_name: str) -> Loaded | None:
        """A model, if it is loaded."""
        return self._loaded.get(vector_name)

    async def get(self, model: ModelVectors) -> Loaded:
        """A model, loaded if it is not yet.

        Raises:
            CheckpointError, StartupError: it cannot be loaded.
        """
        async with self._loading:
            return self._loaded.get(model.vector) or await self._load(model)

    async def _load(self, model: ModelVectors) -> Loaded:
        at_home = model.vector == vector_name_of(self._home)
        checkpoint = self._home if at_home else await asyncio.to_thread(self._opener.read, model.checkpoint or "")
        if vector_name_of(checkpoint) != model.vector:
            raise StartupError(f"{model.checkpoint} is {vector_name_of(checkpoint)} now, not {model.vector}")
        index = self._index.of_model(model.vector)
        stack = AsyncExitStack()
        served = await stack.enter_async_context(self._opener.open(checkpoint, index, at_home=at_home))
        loaded = self._loaded[model.vector] = Loaded(served, BackFill(served.notes, index), stack)
        return loaded

    async def check_complete(self, model: ModelVectors, *, force: bool, reason: str | None) -> None:
        """Whether a model can answer.

        Raises:
            MigrationConflict: it is not loaded (`reason` says why), or notes lack a vector of it (unless `force`).
        """
        loaded = self._loaded.get(model.vector)
        if loaded is None:
            raise MigrationConflict(f"{model.vector} is not loaded here: {reason or 'it is being loaded'}")
        fill = loaded.back_fill
        if not force and not await fill.still_complete():
            failed = f", and {fill.failed} of them cannot be embedded" if fill.failed else ""
            raise MigrationConflict(
                f"notes lack a vector of {model.vector}{failed}, and would not be found: wait until the back-fill is complete, or "
                "force it"
            )

    async def keep_only(self, vector_names: Collection[str]) -> None:
        """Closes all other models."""
        for name in self._loaded.keys() - set(vector_names):
            await self._loaded.pop(name).close()

    async def close(self) -> None:
        """Closes all models."""
        await self.keep_only(())
