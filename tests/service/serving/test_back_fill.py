"""Stored notes that get the vectors of another model in the background."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from contextvars import ContextVar
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import pytest_asyncio

from notellm import Note
from service.caller import Caller, Priority, caller
from service.errors import IndexUnavailable, ModelFailed
from service.index import Description, EdgeIndex, IndexedNote, ModelVectors, Move, ServerIndex
from service.index.server.connection import ServerAddress, connect
from service.notes import NoteService
from service.serving import back_fill
from service.serving.back_fill import BackFill
from service.serving.loaded_model import LoadedModel, ModelLoader
from tests.qdrant import QdrantStandIn
from tests.service.serving.migrating import MANY, vectors_by

NOTES = [Note.model_validate(note) for note in MANY]
VECTORS = NoteService.vectors
request: ContextVar[str] = ContextVar("request")  # what is known of a request, wherever it is worked on


@pytest_asyncio.fixture
async def loaded(loader: ModelLoader, target: ModelVectors) -> AsyncIterator[LoadedModel]:
    model = await loader.load(target)
    yield model
    await model.close()


@pytest_asyncio.fixture
async def fill(loaded: LoadedModel, edge: EdgeIndex, source: ModelVectors, target: ModelVectors) -> BackFill:
    """The back-fill of the new model, over many notes that have only a vector of the old one."""
    move = Move(source=source, target=target)
    await edge.describe_as(Description(vector=source.vector, dimensions=source.dimensions, migration=move))
    await edge.upsert([by_old_model(note.payload()) for note in NOTES])
    made = loaded.back_fill
    made.share = 1
    return made


def by_old_model(payload: dict[str, Any]) -> IndexedNote:
    vector = np.zeros(48, dtype=np.float32)
    vector[0] = 1
    return IndexedNote(payload, vector)


def failing_on(monkeypatch: pytest.MonkeyPatch, *ids: str) -> None:
    """The model cannot embed these notes."""

    async def vectors(self: NoteService, notes: Sequence[Note]) -> Any:
        if any(note.id in ids for note in notes):
            raise ModelFailed("as the test wants it")
        return await VECTORS(self, notes)

    monkeypatch.setattr(NoteService, "vectors", vectors)


async def test_each_note_gets_the_vector_that_the_model_gives_it(
    fill: BackFill, edge: EdgeIndex, target: ModelVectors, next_path: Path
) -> None:
    assert not fill.complete
    assert await fill.step() == len(NOTES) > back_fill.PAGE
    assert not fill.complete, "notes may have been stored meanwhile"
    assert await fill.step() == 0
    assert fill.complete
    assert (fill.filled, fill.failed, fill.error, fill.unfinished) == (len(NOTES), 0, None, None)
    stored = await edge.of_model(target.vector).get([note.id for note in NOTES], with_vectors=True)
    for note_id, expected in vectors_by(next_path, MANY).items():
        vector = stored[note_id].vector
        assert vector is not None
        np.testing.assert_allclose(vector, expected, atol=1e-5)


async def test_a_note_that_cannot_be_embedded_keeps_none_of_its_neighbours_back(
    fill: BackFill, edge: EdgeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(back_fill, "PAGE", 4)  # in a page with such a note, each is embedded alone
    failing_on(monkeypatch, "m3", "m70")
    await edge.upsert([by_old_model(NOTES[5].payload() | {"title": None, "content": None, "hashtags": []})])
    await fill.fill_all()
    assert (fill.filled, fill.failed, sorted(fill.examples)) == (len(NOTES) - 3, 3, ["m3", "m5", "m70"])
    assert not fill.complete
    assert fill.unfinished is not None
    assert fill.unfinished.startswith("3 notes cannot be embedded, such as m")
    monkeypatch.undo()
    await edge.delete(["m5"])
    await fill.fill_all()
    assert fill.complete
    assert fill.unfinished is None


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (IndexUnavailable("it is away"), "it is away"),
        (ValueError("cannot read it"), "cannot read it"),
        (KeyError(), "KeyError"),
    ],
    ids=["index", "unexpected", "silent"],
)
async def test_a_pass_that_fails_is_told_and_the_next_one_goes_on(
    error: Exception, told: str, fill: BackFill, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scroll(*_: object, **__: object) -> Any:
        raise error

    fill.complete = True
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, back_fill.__name__):
        patch.setattr(EdgeIndex, "scroll", scroll)
        assert await fill.step() == 0
    assert (fill.error, fill.unfinished, fill.complete) == (told, told, False)
    assert caplog.messages == ["back-filling has stopped and will be tried again"]
    await fill.fill_all()
    assert (fill.error, fill.complete) == (None, True)


async def test_what_was_stored_since_the_last_pass_is_filled_before_it_counts_as_complete(
    fill: BackFill, edge: EdgeIndex
) -> None:
    assert not await fill.still_complete()
    assert fill.filled == 0, "who asks does not wait for a whole back-fill"
    await fill.fill_all()
    await edge.upsert([by_old_model(NOTES[0].payload())])
    assert await fill.still_complete()
    assert fill.filled == len(NOTES) + 1


class Sleeps:
    """Notes how long somebody wants to sleep, and lets nobody sleep."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds: list[float] = []
        self._sleep = asyncio.sleep
        monkeypatch.setattr(asyncio, "sleep", self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await self._sleep(0)

    async def wait_for(self, number: int) -> None:
        while len(self.seconds) < number:
            await self._sleep(0.001)


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> Sleeps:
    return Sleeps(monkeypatch)


async def test_it_works_for_its_share_of_the_time(loaded: LoadedModel, fill: BackFill, edge: EdgeIndex, sleeps: Sleeps) -> None:
    assert fill.filled == 0
    times = iter([0.0, 2.0, 10.0, 13.0])
    paced = BackFill(loaded.served.notes, edge.of_model(loaded.vector_name), clock=lambda: next(times))
    paced.share = 0.25
    assert await paced.step() == len(NOTES)
    assert sleeps.seconds == [6.0, 9.0], "two pages"


async def test_it_rests_longer_and_longer_while_there_is_nothing_to_do(fill: BackFill, sleeps: Sleeps) -> None:
    await fill.fill_all()
    sleeps.seconds.clear()
    fill.start()
    await sleeps.wait_for(12)
    await fill.stop()
    assert sleeps.seconds[:11] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60.0]


async def test_it_tries_again_sooner_while_notes_lack_a_vector(
    fill: BackFill, sleeps: Sleeps, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scroll(*_: object, **__: object) -> Any:
        raise IndexUnavailable("it is away")

    monkeypatch.setattr(EdgeIndex, "scroll", scroll)
    fill.start()
    await sleeps.wait_for(9)
    await fill.stop()
    assert sleeps.seconds[:8] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


async def test_it_runs_once_until_it_is_stopped_and_belongs_to_no_request(
    fill: BackFill, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking: list[Caller] = []
    requests: list[str] = []
    go_on = asyncio.Event()

    async def vectors(self: NoteService, notes: Sequence[Note]) -> Any:
        asking.append(caller.get())
        requests.append(request.get("none"))
        await go_on.wait()
        return await VECTORS(self, notes)

    monkeypatch.setattr(NoteService, "vectors", vectors)
    caller.set(Caller(client="anna"))
    request.set("the one that has begun the migration")
    before = asyncio.all_tasks()
    fill.start()
    fill.start()
    while not asking:
        await asyncio.sleep(0)
    assert len(asyncio.all_tasks() - before) == 1
    assert [(seen.client, seen.priority, seen.background) for seen in asking] == [("migration", Priority.BULK, True)]
    assert requests == ["none"]
    assert caller.get().client == "anna"
    await fill.stop()
    await fill.stop()
    assert asyncio.all_tasks() == before
    go_on.set()
    fill.start()
    async with asyncio.timeout(60):
        while not fill.complete:
            await asyncio.sleep(0.001)
    await fill.stop()
    assert fill.filled == len(NOTES)


@pytest.mark.parametrize("shared", [True, False])
async def test_processes_over_one_index_begin_at_different_notes(
    fill: BackFill, edge: EdgeIndex, monkeypatch: pytest.MonkeyPatch, *, shared: bool
) -> None:
    begun: list[str | None] = []
    scroll: Callable[..., Any] = EdgeIndex.scroll

    async def noted(self: EdgeIndex, **asked: Any) -> Any:
        begun.append(asked.get("start"))
        return await scroll(self, **asked)

    await fill.fill_all()
    monkeypatch.setattr(EdgeIndex, "shared", shared)
    monkeypatch.setattr(EdgeIndex, "scroll", noted)
    await fill.step()
    await fill.step()
    *places, last = begun
    assert last is None
    assert len(set(places)) == (3 if shared else 1)


async def test_two_replicas_share_the_work(
    loaded: LoadedModel, stand_in: QdrantStandIn, source: ModelVectors, target: ModelVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They look at different places: in order, both would soon work on the same pages, and do a third of the work twice."""
    monkeypatch.setattr(back_fill, "PAGE", 2)
    places = Random(1)
    monkeypatch.setattr(back_fill, "uuid4", lambda: UUID(int=places.getrandbits(128)))

    async def vectors(self: NoteService, notes: Sequence[Note]) -> Any:
        await asyncio.sleep(0.01)  # the other replica goes on, so that both have always read a page before one writes
        return [np.eye(1, target.dimensions, dtype=np.float32)[0] for _ in notes]

    monkeypatch.setattr(NoteService, "vectors", vectors)
    async with AsyncExitStack() as stack:
        fills: list[BackFill] = []
        for _ in range(2):
            client = connect(ServerAddress("http://127.0.0.1", stand_in.port), timeout_seconds=60)
            stack.push_async_callback(client.close)
            index = await ServerIndex.open(client, collection="notes", vector_name=source.vector, dimensions=source.dimensions)
            if not fills:
                move = Move(source=source, target=target)
                await index.describe_as(Description(vector=source.vector, dimensions=source.dimensions, migration=move))
                await index.upsert([by_old_model(note.payload()) for note in NOTES])
            fills.append(BackFill(loaded.served.notes, index.of_model(target.vector)))
            fills[-1].share = 1
        await asyncio.gather(*(fill.fill_all() for fill in fills))
        assert await index.of_model(target.vector).count(lacking=True) == 0
    done = [fill.filled for fill in fills]
    assert min(done) > len(NOTES) / 4, "both of them work"
    assert sum(done) < 1.3 * len(NOTES), "and seldom twice"
