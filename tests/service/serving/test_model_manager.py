"""Models that are loaded, closed and filled in as the description of an index says."""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from notellm import Checkpoint, Note
from notellm.errors import CheckpointError
from service.errors import IndexUnavailable, MigrationConflict, ShuttingDown, StartupError
from service.index import Description, EdgeIndex, ModelVectors, Move
from service.observability import Metrics
from service.serving import model_manager
from service.serving.loaded_model import LoadedModel, ModelLoader
from service.serving.model_manager import ModelManager
from service.serving.served import ModelOpener
from service.serving.states import Moving, Prepared, Serving, Unfit, Waiting
from tests.service.calls import NOTES

STORED = [Note.model_validate(note) for note in NOTES]


@pytest_asyncio.fixture
async def manager(opener: ModelOpener, edge: EdgeIndex, tiny: Checkpoint, metrics: Metrics) -> AsyncIterator[ModelManager]:
    async with ModelManager.open(opener, edge, tiny, metrics) as opened:
        yield opened


@pytest.fixture
def late(next_path: Path, tmp_path: Path, target: ModelVectors) -> ModelVectors:
    """The new model at a place of its own, from which it can be taken away."""
    path = shutil.copytree(next_path, tmp_path / "late")
    return target.model_copy(update={"checkpoint": str(path)})


def settled_on(model: ModelVectors, dropping: str | None = None) -> Description:
    """An index of one model."""
    return Description(vector=model.vector, dimensions=model.dimensions, checkpoint=model.checkpoint, dropping=dropping)


def moving(source: ModelVectors, target: ModelVectors) -> Description:
    """An index of two models, of which the old one answers."""
    return Description(vector=source.vector, dimensions=source.dimensions, migration=Move(source=source, target=target))


def take_away(model: ModelVectors) -> Path:
    assert model.checkpoint is not None
    return Path(model.checkpoint).rename(f"{model.checkpoint}.away")


def bring_back(model: ModelVectors) -> None:
    assert model.checkpoint is not None
    Path(f"{model.checkpoint}.away").rename(model.checkpoint)


async def is_closed(model: LoadedModel) -> bool:
    try:
        await model.served.notes.embed_texts(STORED[:1])
    except ShuttingDown:
        return True
    return False


def shown_model(metrics: Metrics) -> str:
    (name,) = (sample.labels["name"] for family in metrics.model.collect() for sample in family.samples)
    return name


async def test_it_opens_with_the_model_that_answers(manager: ModelManager, edge: EdgeIndex, metrics: Metrics) -> None:
    assert isinstance(manager.state, Serving)
    assert manager.state.description == await edge.describe()
    assert manager.state.served.checkpoint.manifest.name == shown_model(metrics) == "tiny"


async def test_all_models_are_closed_at_the_end(
    opener: ModelOpener, edge: EdgeIndex, tiny: Checkpoint, source: ModelVectors, target: ModelVectors
) -> None:
    await edge.describe_as(moving(source, target))
    async with ModelManager.open(opener, edge, tiny, Metrics()) as opened:
        assert isinstance(opened.state, Moving)
        models = opened.state.loaded
    assert [await is_closed(model) for model in models] == [True, True]


async def test_the_way_from_one_model_to_another(
    manager: ModelManager, edge: EdgeIndex, metrics: Metrics, source: ModelVectors, target: ModelVectors
) -> None:
    old = manager.state.answering
    await manager.state.served.notes.store(STORED[:1])
    await manager.prepare(target)
    prepared = manager.state
    assert isinstance(prepared, Prepared)
    new = prepared.target
    await manager.become(moving(source, target))
    begun = manager.state
    assert begun == Moving(moving(source, target), old, new)
    assert await edge.describe() == begun.description
    async with asyncio.timeout(60):
        while manager.state.phase != "filled":
            await asyncio.sleep(0.01)
    await manager.state.served.notes.store(STORED[1:])
    assert await edge.of_model(target.vector).count(lacking=True) == 0, "the stored note was filled in, the others were written"
    await manager.become(manager.state.description.answering(target))
    assert (manager.state.answering, shown_model(metrics)) == (new, "next")
    await manager.become(settled_on(target))
    assert manager.state == Serving(settled_on(target), new)
    assert await is_closed(old)
    assert not await is_closed(new)


async def test_a_back_fill_runs_only_during_a_migration(
    manager: ModelManager, edge: EdgeIndex, source: ModelVectors, target: ModelVectors
) -> None:
    await manager.become(moving(source, target))
    assert isinstance(manager.state, Moving)
    fills = [model.back_fill for model in manager.state.loaded]
    assert all(fill._running for fill in fills)
    await manager.become(settled_on(source))
    assert not any(fill._running for fill in fills)


async def test_a_target_that_is_given_up_is_closed(manager: ModelManager, target: ModelVectors) -> None:
    before = manager.state
    await manager.prepare(target)
    prepared = manager.state
    assert isinstance(prepared, Prepared)
    loaded = prepared.target
    await manager.abandon()
    assert manager.state == before
    assert await is_closed(loaded)
    await manager.abandon()
    assert manager.state == before


async def test_no_model_is_loaded_twice(
    manager: ModelManager, source: ModelVectors, target: ModelVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may note the same migration down while its target is loaded here."""
    loads, load = list[str](), ModelLoader.load

    async def counted(self: ModelLoader, model: ModelVectors) -> LoadedModel:
        loads.append(model.vector)
        return await load(self, model)

    monkeypatch.setattr(ModelLoader, "load", counted)
    await asyncio.gather(manager.prepare(target), manager.follow(moving(source, target)), manager.prepare(target))
    assert isinstance(manager.state, Moving)
    assert loads == [target.vector]


async def test_a_missing_model_is_waited_for(
    manager: ModelManager, source: ModelVectors, late: ModelVectors, caplog: pytest.LogCaptureFixture
) -> None:
    take_away(late)
    with caplog.at_level(logging.WARNING, model_manager.__name__):
        await manager.follow(moving(source, late))
    assert isinstance(manager.state, Waiting)
    assert caplog.messages == ["this process cannot continue the migration"]
    assert manager.state.error is not None
    assert manager.state.error.startswith(f"{late.vector} cannot be loaded: ")
    assert "no such directory" in manager.state.error
    with pytest.raises(MigrationConflict, match=rf"{late.vector} is not loaded here: {late.vector} cannot be loaded"):
        await manager.check_complete(late, force=True)
    await manager.prepare(source)
    assert isinstance(manager.state, Waiting), "the model that answers is there already"
    bring_back(late)
    await manager.follow(moving(source, late))
    assert isinstance(manager.state, Moving)
    assert manager.state.error is None


async def test_a_missing_model_may_be_loaded_from_another_place(
    manager: ModelManager, source: ModelVectors, target: ModelVectors, late: ModelVectors
) -> None:
    take_away(late)
    await manager.follow(moving(source, late))
    with pytest.raises(CheckpointError, match="no such directory"):
        await manager.prepare(late)
    assert isinstance(manager.state, Waiting)
    await manager.prepare(target)
    assert isinstance(manager.state, Moving)


async def test_a_process_whose_model_is_missing_is_unfit_until_it_is_there(
    manager: ModelManager, edge: EdgeIndex, source: ModelVectors, late: ModelVectors
) -> None:
    before = manager.state
    take_away(late)
    switched = moving(source, late).answering(late)
    await edge.describe_as(switched)
    with pytest.raises(CheckpointError, match="no such directory"):
        await manager.catch_up()
    assert isinstance(manager.state, Unfit)
    assert manager.state.before == before
    assert manager.state.reason.startswith(f"{late.vector} should answer but cannot be loaded: ")
    with pytest.raises(CheckpointError):
        await manager.catch_up()
    assert isinstance(manager.state, Unfit)
    assert not await is_closed(manager.state.answering)
    await manager.prepare(late)
    assert isinstance(manager.state, Unfit)
    bring_back(late)
    await manager.catch_up()
    assert isinstance(manager.state, Moving)
    assert manager.state.description == switched
    assert manager.state.answering.vector_name == late.vector
    assert manager.state.other is before.answering


async def test_a_target_is_closed_where_another_model_should_answer(
    manager: ModelManager, edge: EdgeIndex, source: ModelVectors, target: ModelVectors
) -> None:
    await manager.prepare(target)
    prepared = manager.state
    assert isinstance(prepared, Prepared)
    loaded = prepared.target
    with pytest.raises(CheckpointError):
        await manager.follow(settled_on(ModelVectors(vector="third-1", dimensions=4, checkpoint="none")))
    assert isinstance(manager.state, Unfit)
    assert await is_closed(loaded)


async def test_a_model_that_cannot_be_closed_keeps_no_other_open(
    manager: ModelManager, source: ModelVectors, target: ModelVectors
) -> None:
    await manager.follow(moving(source, target))
    assert isinstance(manager.state, Moving)
    first, second = manager.state.loaded

    async def failing() -> None:
        raise ValueError("as the test wants it")

    for model in (first, second):
        model._stack.push_async_callback(failing)
    with pytest.raises(ValueError, match="as the test wants it"):
        await model_manager._close([first, second])
    assert [await is_closed(model) for model in (first, second)] == [True, True]


async def test_a_model_answers_when_each_note_has_its_vector(
    manager: ModelManager, source: ModelVectors, target: ModelVectors
) -> None:
    await manager.state.served.notes.store(STORED)
    await manager.become(moving(source, target))
    (loaded,) = (model for model in manager.state.loaded if model.vector_name == target.vector)
    await loaded.back_fill.stop()
    loaded.back_fill.complete, loaded.back_fill.failed = False, 2
    with pytest.raises(
        MigrationConflict, match=f"notes lack a vector of {target.vector}, and 2 of them cannot be embedded, and would not be"
    ):
        await manager.check_complete(target, force=False)
    await manager.check_complete(target, force=True)
    await loaded.back_fill.fill_all()
    await manager.check_complete(target, force=False)
    with pytest.raises(MigrationConflict, match="third-1 is not loaded here: it is being loaded"):
        await manager.check_complete(ModelVectors(vector="third-1", dimensions=4), force=True)


async def test_vectors_are_dropped_when_each_note_has_another(
    manager: ModelManager, edge: EdgeIndex, source: ModelVectors, target: ModelVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    await manager.drop()
    await manager.state.served.notes.store(STORED)
    await manager.become(moving(source, target).answering(target))
    await manager.become(settled_on(target, dropping=source.vector))
    fill = manager.state.answering.back_fill

    async def unreadable(*_: object, **__: object) -> None:
        raise IndexUnavailable("it is away")

    with monkeypatch.context() as patch:
        patch.setattr(EdgeIndex, "scroll", unreadable)
        with pytest.raises(MigrationConflict, match=f"notes would be left without a vector of {target.vector}: it is away"):
            await manager.drop()
    assert manager.state.incomplete
    await manager.drop()
    assert fill.complete
    assert manager.state == Serving(settled_on(target), manager.state.answering)
    assert await edge.describe() == settled_on(target)


async def test_a_start_without_the_checkpoint_of_the_model_that_answers_says_what_to_do(
    opener: ModelOpener, edge: EdgeIndex, tiny: Checkpoint, source: ModelVectors, late: ModelVectors, metrics: Metrics
) -> None:
    await edge.describe_as(moving(source, late).answering(late))
    take_away(late)
    with pytest.raises(
        StartupError, match=rf"{late.vector} answers from this index, .*Set NOTELLM_CHECKPOINT to its directory"
    ):
        async with ModelManager.open(opener, edge, tiny, metrics):
            pass
