"""`LoadedModel`: a model in this process with its back-fill. `ModelLoader`: loads the models that an index names."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

from notellm.checkpoint import Checkpoint, vector_name_of
from service.errors import StartupError
from service.index import ModelVectors, NoteIndex
from service.serving.back_fill import BackFill
from service.serving.served import ModelOpener, ServedModel


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model in this process.

    Attributes:
        vector_name: name of the model's vectors in the index.
        served: answers requests, and writes only this model's vectors.
        back_fill: adds this model's vectors to stored notes, while it runs.
    """

    vector_name: str
    served: ServedModel
    back_fill: BackFill
    _stack: AsyncExitStack

    async def close(self) -> None:
        """Stops the back-fill, finishes accepted work, and frees the model."""
        await self._stack.aclose()


class ModelLoader:
    """Loads the models that the description of an index names.

    Args:
        opener: opens a checkpoint with the service's settings.
        index: holds the vectors of every loaded model.
        home: the checkpoint in the settings. Other checkpoints are read from the path that the index holds.
    """

    def __init__(self, opener: ModelOpener, index: NoteIndex, home: Checkpoint) -> None:
        self._opener = opener
        self._index = index
        self._home = home

    async def load(self, model: ModelVectors) -> LoadedModel:
        """Loads a model. The caller closes it.

        Raises:
            CheckpointError, StartupError: the model cannot be loaded, or its path holds another model now.
        """
        at_home = model.vector == vector_name_of(self._home)
        checkpoint = self._home if at_home else await asyncio.to_thread(self._opener.read, model.checkpoint or "")
        if vector_name_of(checkpoint) != model.vector:
            raise StartupError(f"{model.checkpoint} is {vector_name_of(checkpoint)} now, not {model.vector}")
        index = self._index.of_model(model.vector)
        stack = AsyncExitStack()
        served = await stack.enter_async_context(self._opener.open(checkpoint, index, at_home=at_home))
        back_fill = BackFill(served.notes, index)
        stack.push_async_callback(back_fill.stop)
        return LoadedModel(model.vector, served, back_fill, stack)
