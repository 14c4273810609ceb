"""Which models are loaded, which one answers and which are filled in, in each state and in the one after it."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest
import pytest_asyncio

from notellm import Checkpoint
from notellm.hashtags import HashtagRules
from service.index import Description, EdgeIndex, ModelVectors, Move
from service.notes import LiveHashtags
from service.observability import Metrics
from service.serving.loaded_model import LoadedModel, ModelLoader
from service.serving.served import ModelOpener
from service.serving.states import Moving, Prepared, Serving, State, Unfit, Waiting, alone
from service.settings import Settings
from tests.service.serving.conftest import vectors_of

Models = tuple[LoadedModel, LoadedModel]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def models(tiny_path: Path, next_path: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Models]:
    """Two models, loaded once for all tests here."""
    old, new = vectors_of(tiny_path), vectors_of(next_path)
    folder = tmp_path_factory.mktemp("states")
    index = EdgeIndex.open(folder / "index", vector_name=old.vector, dimensions=old.dimensions)
    settings = Settings.model_validate({"checkpoint": tiny_path, "data_dir": folder, "engine": "local"})
    live = LiveHashtags(index, most=100, metrics=Metrics())
    loader = ModelLoader(ModelOpener(settings, HashtagRules.of(()), live, Metrics()), index, Checkpoint.open(tiny_path))
    loaded = await loader.load(old), await loader.load(new)
    yield loaded
    for model in loaded:
        await model.close()
    await index.close()


@pytest.fixture
def old(models: Models) -> LoadedModel:
    return models[0]


@pytest.fixture
def new(models: Models) -> Iterator[LoadedModel]:
    yield models[1]
    models[1].back_fill.complete = False


@pytest.fixture
def settled(source: ModelVectors) -> Description:
    """An index of one model."""
    return Description(vector=source.vector, dimensions=source.dimensions)


@pytest.fixture
def moving(settled: Description, source: ModelVectors, target: ModelVectors) -> Description:
    """An index of two models, of which the old one answers."""
    return settled.model_copy(update={"migration": Move(source=source, target=target)})


@pytest.fixture
def switched(moving: Description, target: ModelVectors) -> Description:
    """The same after the switch."""
    return moving.answering(target)


@pytest.fixture
def third(settled: Description, source: ModelVectors) -> Description:
    """An index of two models, of which the old one answers, and the other one is loaded nowhere."""
    move = Move(source=source, target=ModelVectors(vector="third-1", dimensions=4))
    return settled.model_copy(update={"migration": move})


def shows(state: State, *, loaded: list[LoadedModel], filling: list[LoadedModel]) -> bool:
    return list(state.loaded) == loaded and list(state.filling) == filling


def test_one_model_answers_and_is_not_filled_in(settled: Description, old: LoadedModel, target: ModelVectors) -> None:
    state = alone(settled, old)
    assert state == Serving(settled, old)
    assert shows(state, loaded=[old], filling=[])
    assert state.served is old.served
    assert (state.phase, state.error, state.incomplete) == ("none", None, False)
    assert state.find(target) is None
    assert state.find(settled.served) is old


def test_vectors_that_are_to_be_dropped_are_left_to_do(settled: Description, old: LoadedModel) -> None:
    assert Serving(settled.model_copy(update={"dropping": "gone-1"}), old).incomplete


def test_a_state_never_changes(settled: Description, old: LoadedModel, new: LoadedModel) -> None:
    with pytest.raises(FrozenInstanceError):
        Serving(settled, old).answering = new  # type: ignore[misc]


def test_a_migration_begins(settled: Description, moving: Description, old: LoadedModel, new: LoadedModel) -> None:
    prepared = Prepared(settled, old, new)
    assert shows(prepared, loaded=[old, new], filling=[])
    assert prepared.served is old.served, "the index has no vectors of the new model yet"
    assert prepared.phase == "none"
    assert prepared.abandoned() == Serving(settled, old)
    begun = prepared.following(moving, old)
    assert begun == Moving(moving, old, new)
    assert shows(begun, loaded=[old, new], filling=[old, new])
    assert (begun.phase, begun.error, begun.incomplete) == ("filling", None, False)
    new.back_fill.complete = True
    assert begun.phase == "filled"


def test_a_target_waits_until_the_index_names_it(
    settled: Description, third: Description, target: ModelVectors, old: LoadedModel, new: LoadedModel
) -> None:
    prepared = Prepared(settled, old, new)
    dropped = settled.model_copy(update={"dropping": None, "checkpoint": "elsewhere"})
    assert prepared.following(dropped, old) == Prepared(dropped, old, new)
    assert prepared.following(third, old) == Waiting(third, old)
    moved = Description(vector=target.vector, dimensions=target.dimensions)
    assert prepared.following(moved, new) == Serving(moved, new)


def test_a_switch_and_its_way_back_change_only_who_answers(
    moving: Description, switched: Description, old: LoadedModel, new: LoadedModel
) -> None:
    before = Moving(moving, old, new)
    after = before.following(switched, new)
    assert after == Moving(switched, new, old)
    assert shows(after, loaded=[new, old], filling=[new, old])
    assert after.phase == "switched"
    assert after.following(moving, old) == before


def test_the_end_of_a_migration_leaves_one_model(
    settled: Description, moving: Description, switched: Description, target: ModelVectors, old: LoadedModel, new: LoadedModel
) -> None:
    assert Moving(moving, old, new).following(settled, old) == Serving(settled, old)
    finished = Description(vector=target.vector, dimensions=target.dimensions)
    assert Moving(switched, new, old).following(finished, new) == Serving(finished, new)


def test_the_model_that_answers_writes_for_the_other_one(moving: Description, old: LoadedModel, new: LoadedModel) -> None:
    served = Moving(moving, old, new).served
    assert served.notes is not old.served.notes
    assert replace(served, notes=old.served.notes) == old.served
    assert served.notes.vector_name == old.vector_name


def test_a_migration_waits_for_a_model_that_is_missing(
    moving: Description, switched: Description, old: LoadedModel, new: LoadedModel, target: ModelVectors
) -> None:
    state = alone(moving, old)
    assert state == Waiting(moving, old)
    assert shows(state, loaded=[old], filling=[old])
    assert state.served is old.served
    assert (state.phase, state.error, state.incomplete, state.missing) == ("filling", None, True, target)
    assert alone(switched, new).phase == "switched"
    assert state.with_missing(new) == Moving(moving, old, new)


def test_why_a_model_is_missing_is_told_until_it_is_another_one(
    settled: Description, moving: Description, switched: Description, third: Description, old: LoadedModel, new: LoadedModel
) -> None:
    state = Waiting(moving, old, "it is gone")
    assert state.error == "it is gone"
    assert state.following(moving, old) == state
    assert state.following(switched, new) == Moving(switched, new, old)
    assert state.following(settled, old) == Serving(settled, old)
    assert state.following(third, old) == Waiting(third, old)


@pytest.mark.parametrize("kind", [Serving, Waiting, Moving])
def test_an_unfit_process_goes_on_as_before(
    kind: type[State], settled: Description, moving: Description, switched: Description, old: LoadedModel, new: LoadedModel
) -> None:
    states = (Serving(settled, old), Waiting(moving, old, "it is gone"), Moving(moving, old, new))
    (before,) = (state for state in states if type(state) is kind)
    state = before.unfit("the disk is away")
    assert state == Unfit(before.description, old, before, "the disk is away")
    assert shows(state, loaded=list(before.loaded), filling=list(before.filling))
    assert (state.phase, state.error) == (before.phase, "the disk is away")
    assert state.served.notes.vector_name == old.vector_name
    assert state.unfit("it is still away") == before.unfit("it is still away")
    assert state.following(switched, new) == before.following(switched, new)


def test_an_unfit_process_prepares_no_migration(settled: Description, old: LoadedModel, new: LoadedModel) -> None:
    assert Prepared(settled, old, new).unfit("gone") == Serving(settled, old).unfit("gone")
