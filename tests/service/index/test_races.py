"""Clients of one Qdrant server that write and delete the same note, or drop the vectors of a model, at the same time."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from service.index import Description, ModelVectors, Move, ServerIndex
from tests.service.index.backends import BACKENDS, DIMENSIONS, indexed, open_client

Another = Callable[[], Awaitable[None]]
Meanwhile = Callable[..., None]
OLD = ModelVectors(vector="m-1", dimensions=DIMENSIONS, checkpoint="/checkpoints/1")
NEW = ModelVectors(vector="m-2", dimensions=4, checkpoint="/checkpoints/2")
THIRD = ModelVectors(vector="m-3", dimensions=8, checkpoint="/checkpoints/3")
MOVING = Description(vector=NEW.vector, dimensions=NEW.dimensions, migration=Move(source=OLD, target=NEW))
LEFT = Description(vector=NEW.vector, dimensions=NEW.dimensions, checkpoint=NEW.checkpoint)
DROPPING = LEFT.model_copy(update={"dropping": OLD.vector})


@pytest.fixture(params=BACKENDS[1:])
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
    assert await index.deleted(["n1"]) == {"n1": 5}


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
