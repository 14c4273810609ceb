"""Clients of one Qdrant server that write and delete the same note, or drop the vectors of a model, at the same time."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from service.index import Description, IndexedNote, ModelVectors, Move, NoteIndex, ServerIndex, Tombstone
from tests.service.index.backends import BACKENDS, DIMENSIONS, deleted_versions, indexed, open_client

Another = Callable[[], Awaitable[Any]]
Meanwhile = Callable[..., None]
# A write of a note by one of two clients, and what it is told.
Write = Callable[[NoteIndex, int, str], Awaitable[str]]
OLD = ModelVectors(vector="m-1", dimensions=DIMENSIONS, checkpoint="/checkpoints/1")
NEW = ModelVectors(vector="m-2", dimensions=4, checkpoint="/checkpoints/2")
THIRD = ModelVectors(vector="m-3", dimensions=8, checkpoint="/checkpoints/3")
MOVING = Description(vector=NEW.vector, dimensions=NEW.dimensions, migration=Move(source=OLD, target=NEW))
LEFT = Description(vector=NEW.vector, dimensions=NEW.dimensions, checkpoint=NEW.checkpoint)
DROPPING = LEFT.model_copy(update={"dropping": OLD.vector})


@pytest.fixture(params=[backend for backend in BACKENDS if "client" in str(backend)])
async def racing(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[ServerIndex, Meanwhile]]:
    """An index, and what another client does as soon as the next read, or another call, is answered."""
    async with open_client(request.param) as client:
        collection = f"test-{uuid.uuid4().hex}"

        def meanwhile(another: Another, after: str = "retrieve") -> None:
            call = getattr(client, after)

            async def calling(*arguments: Any, **options: Any) -> Any:
                answer = await call(*arguments, **options)
                monkeypatch.undo()
                await another()
                return answer

            monkeypatch.setattr(client, after, calling)

        yield await ServerIndex.open(client, collection=collection, vector_name="m-1", dimensions=DIMENSIONS), meanwhile
        await client.delete_collection(collection)
        await client.close()


@pytest.mark.parametrize("version", [None, 0, 3])
async def test_a_delete_spares_a_version_that_was_written_meanwhile(
    version: int | None, racing: tuple[ServerIndex, Meanwhile]
) -> None:
    """It would go without a tombstone, so that a replay could bring it back."""
    index, meanwhile = racing
    await index.upsert([indexed(1)])
    meanwhile(lambda: index.upsert([indexed(1, version=version)]))
    await index.delete(["n1"])
    assert list(await index.get(["n1"])) == ([] if version is None else ["n1"])


async def test_a_delete_leaves_a_later_one_in_force(racing: tuple[ServerIndex, Meanwhile]) -> None:
    index, meanwhile = racing

    async def write_and_delete() -> None:
        await index.upsert([indexed(1, version=5)])
        await index.delete(["n1"])

    await index.upsert([indexed(1, version=3)])
    meanwhile(write_and_delete)
    await index.delete(["n1"])
    assert await deleted_versions(index, ["n1"]) == {"n1": 5}


def upserting(version: int | None) -> Write:
    async def write(index: NoteIndex, number: int, client: str) -> str:
        return (await index.upsert([indexed(number, version=version, title=client)]))[0]

    return write


def restoring(version: int | None) -> Write:
    async def write(index: NoteIndex, number: int, client: str) -> str:
        return (await index.restore([indexed(number, version=version, title=client)]))[0]

    return write


async def burying(index: NoteIndex, number: int, client: str) -> str:
    return (await index.bury([Tombstone(f"n{number}", 2)]))[0]


async def deleting(index: NoteIndex, number: int, client: str) -> str:
    return (await index.delete([f"n{number}"]))[0]


WRITES: dict[str, Write] = {
    **{f"upsert {version}": upserting(version) for version in (None, 1, 2, 3)},
    **{f"restore {version}": restoring(version) for version in (None, 1, 3)},
    "bury 2": burying,
    "delete": deleting,
}


IMPORTS = ("restore", "bury")
# Without those that have no look to come in behind, and those of two imports, see `service/index/server/writes.py`.
RACES = [
    (first, second)
    for first in WRITES
    for second in WRITES
    if first != "upsert None" and not (first.startswith(IMPORTS) and second.startswith(IMPORTS))
]
STATES = ["nothing", "note", "note 2", "tombstone 2"]


async def begin(index: NoteIndex, state: str) -> None:
    """Three notes in a state."""
    await index.upsert([indexed(number, title="before") for number in (1, 2, 3)])
    if state == "note 2":
        await index.upsert([indexed(number, version=2, title="before") for number in (1, 2, 3)])
    elif state != "note":
        await index.delete(["n1", "n2", "n3"])
    if state == "tombstone 2":
        await index.bury([Tombstone(f"n{number}", 2) for number in (1, 2, 3)])


async def visible(index: NoteIndex, number: int) -> tuple[str, int | None] | None:
    """The text and version that a reader finds."""
    found = (await index.look([f"n{number}"])).get(f"n{number}")
    return (found.payload["title"], found.version) if isinstance(found, IndexedNote) else None


def told(outcome: str) -> str:
    """Clients that delete a note at the same time may each be told that they did."""
    return "gone" if outcome in {"deleted", "unchanged", "missing"} else outcome


@pytest.mark.parametrize("state", STATES)
async def test_what_two_clients_are_told_is_true_in_one_order_of_their_writes(
    state: str, racing: tuple[ServerIndex, Meanwhile]
) -> None:
    """The second one writes between the look and the write of the first."""
    index, meanwhile = racing
    for first, second in RACES:
        await begin(index, state)
        outcomes: list[str] = []

        async def another(write: Write = WRITES[second], outcomes: list[str] = outcomes) -> None:
            outcomes.append(await write(index, 1, "second"))

        meanwhile(another)
        outcomes.insert(0, await WRITES[first](index, 1, "first"))
        assert len(outcomes) == 2
        raced = [*map(told, outcomes), await visible(index, 1)]
        first_before = [told(await WRITES[first](index, 2, "first")), told(await WRITES[second](index, 2, "second"))]
        first_after = [told(await WRITES[second](index, 3, "second")), told(await WRITES[first](index, 3, "first"))][::-1]
        orders = [[*first_before, await visible(index, 2)], [*first_after, await visible(index, 3)]]
        assert raced in orders, (state, first, second)


@pytest.fixture
async def dropping(racing: tuple[ServerIndex, Meanwhile]) -> tuple[ServerIndex, Meanwhile]:
    """The old model's vectors are on their way out."""
    index, _ = racing
    await index.upsert([indexed(1)])
    for description in (MOVING, DROPPING):
        await index.describe_as(description)
    return racing


async def test_replicas_may_drop_the_same_vectors_at_the_same_time(dropping: tuple[ServerIndex, Meanwhile]) -> None:
    index, _ = dropping
    await asyncio.gather(*(index.drop(OLD.vector) for _ in range(3)))
    assert await index.describe() == LEFT
    await index.drop(OLD.vector)
    assert await index.describe() == LEFT


@pytest.mark.parametrize("after", ["get_collection", "delete_vector_name"])
async def test_a_drop_leaves_a_migration_that_began_meanwhile(after: str, dropping: tuple[ServerIndex, Meanwhile]) -> None:
    """Another replica has dropped the vectors first, and was told to move to a third model."""
    index, meanwhile = dropping
    begun = LEFT.model_copy(update={"migration": Move(source=NEW, target=THIRD), "checkpoint": None})

    async def drop_and_move_on() -> None:
        await index.drop(OLD.vector)
        await index.describe_as(begun)

    meanwhile(drop_and_move_on, after)
    await index.drop(OLD.vector)
    assert await index.describe() == begun


async def test_a_drop_puts_back_the_vectors_of_a_model_that_came_back_meanwhile(
    dropping: tuple[ServerIndex, Meanwhile],
) -> None:
    """Else no note could be stored: the server refuses vectors of a name that it does not have."""
    index, meanwhile = dropping
    back = LEFT.model_copy(update={"migration": Move(source=NEW, target=OLD), "checkpoint": None})

    async def drop_and_move_back() -> None:
        await index.drop(OLD.vector)
        await index.describe_as(back)

    meanwhile(drop_and_move_back, "get_collection")
    await index.drop(OLD.vector)
    assert await index.describe() == back
    await index.upsert([indexed(1)])
    assert await index.count(lacking=True) == 0
