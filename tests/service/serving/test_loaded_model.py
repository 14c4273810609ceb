"""Models that are loaded by what an index says about them."""

import pytest

from notellm import Note
from notellm.errors import CheckpointError
from service.errors import ShuttingDown, StartupError
from service.index import ModelVectors
from service.serving.loaded_model import ModelLoader
from tests.service.calls import NOTES


async def test_the_model_of_the_settings_is_where_they_say(loader: ModelLoader, source: ModelVectors) -> None:
    model = await loader.load(source.model_copy(update={"checkpoint": "moved away"}))
    assert model.vector_name == model.served.notes.vector_name == source.vector
    await model.close()


async def test_another_model_is_where_the_index_says(loader: ModelLoader, target: ModelVectors) -> None:
    model = await loader.load(target)
    assert model.served.checkpoint.manifest.name == "next"
    assert model.served.notes.vector_name == target.vector
    await model.close()
    with pytest.raises(CheckpointError, match="no such directory"):
        await loader.load(target.model_copy(update={"checkpoint": "moved away"}))


async def test_a_checkpoint_that_was_replaced_is_not_taken_for_the_one_before(
    loader: ModelLoader, source: ModelVectors, target: ModelVectors
) -> None:
    replaced = ModelVectors(vector="before-1", dimensions=16, checkpoint=target.checkpoint)
    with pytest.raises(StartupError, match=rf"{target.checkpoint} is {target.vector} now, not before-1"):
        await loader.load(replaced)


async def test_a_closed_model_takes_no_work_and_fills_nothing_in(loader: ModelLoader, target: ModelVectors) -> None:
    model = await loader.load(target)
    model.back_fill.start()
    await model.close()
    assert model.back_fill._running is None
    with pytest.raises(ShuttingDown):
        await model.served.notes.embed_texts([Note.model_validate(NOTES[0])])
