"""One model with all that works with it, and the other model for which it writes during a migration."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from notellm import Checkpoint, Note
from notellm.hashtags import HashtagRules
from service.errors import ShuttingDown, StartupError
from service.index import Description, EdgeIndex, ModelVectors, Move
from service.notes import LiveHashtags
from service.observability import Metrics
from service.serving.loaded_model import ModelLoader
from service.serving.served import ModelOpener
from service.settings import Settings
from tests.service.calls import NOTES
from tests.service.serving.migrating import vectors_by

STORED = [Note.model_validate(note) for note in NOTES]
IDS = [note.id for note in STORED]


@pytest.fixture
def moving(source: ModelVectors, target: ModelVectors) -> Description:
    """An index of two models, of which the old one answers."""
    return Description(vector=source.vector, dimensions=source.dimensions, migration=Move(source=source, target=target))


async def test_a_model_takes_work_until_it_is_closed(opener: ModelOpener, edge: EdgeIndex, tiny: Checkpoint) -> None:
    async with opener.open(tiny, edge, at_home=True) as served:
        assert [note.status for note in await served.notes.store(STORED)] == ["stored"] * len(STORED)
        assert (served.engine.name, served.checkpoint, served.suggestions.vocabulary_size) == ("local", tiny, 0)
        assert len((await served.archive.page(None, 10)).notes) == len(STORED)
        assert await served.liveness.failure() is None
    with pytest.raises(ShuttingDown):
        await served.notes.embed_texts(STORED[:1])


async def test_a_remote_server_generates_only_with_the_model_of_the_settings(
    settings_for: Callable[..., Settings], edge: EdgeIndex, tiny: Checkpoint, next_path: Path, metrics: Metrics
) -> None:
    settings = settings_for(engine="remote", remote_url="http://127.0.0.1:1")
    opener = ModelOpener(settings, HashtagRules.of(()), LiveHashtags(edge, most=100, metrics=metrics), metrics)
    with pytest.raises(StartupError, match="NOTELLM_REMOTE_URL"):
        async with opener.open(tiny, edge, at_home=True):
            pass
    async with opener.open(opener.read(str(next_path)), edge, at_home=False) as served:
        assert served.engine.name == "local"


async def test_what_is_stored_gets_vectors_of_both_models(
    loader: ModelLoader, edge: EdgeIndex, moving: Description, tiny_path: Path, next_path: Path
) -> None:
    await edge.describe_as(moving)
    old, new = [await loader.load(model) for model in moving.models]
    await old.served.with_dual_writes(new.served).notes.store(STORED[:2])
    await new.served.with_dual_writes(old.served).notes.store(STORED[2:])
    for model, path in ((old, tiny_path), (new, next_path)):
        stored = await edge.of_model(model.vector_name).get(IDS, with_vectors=True)
        for note_id, expected in vectors_by(path, NOTES).items():
            vector = stored[note_id].vector
            assert vector is not None
            np.testing.assert_allclose(vector, expected, atol=1e-5)
    await old.served.notes.store([STORED[0].model_copy(update={"title": "by one model only"})])
    assert (await edge.of_model(new.vector_name).get(IDS[:1], with_vectors=True))[IDS[0]].vector is None
    await old.close()
    await new.close()


async def test_a_note_is_stored_without_the_vector_of_a_model_that_is_closed(
    loader: ModelLoader, edge: EdgeIndex, moving: Description, caplog: pytest.LogCaptureFixture
) -> None:
    """A request that began during a migration may end after it."""
    await edge.describe_as(moving)
    old, new = [await loader.load(model) for model in moving.models]
    served = old.served.with_dual_writes(new.served)
    await new.close()
    with caplog.at_level(logging.WARNING, "service.notes"):
        assert [note.status for note in await served.notes.store(STORED)] == ["stored"] * len(STORED)
    assert caplog.messages == ["notes are stored without the other model's vector"]
    assert all(note.vector is not None for note in (await edge.get(IDS, with_vectors=True)).values())
    await old.close()
