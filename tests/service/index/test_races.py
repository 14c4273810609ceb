"""Clients of one Qdrant server that write and delete the same note at the same time."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from service.index import ServerIndex
from tests.service.index.backends import BACKENDS, DIMENSIONS, indexed, open_client

Meanwhile = Callable[[Callable[[], Awaitable[None]]], None]


@pytest.fixture(params=[backend for backend in BACKENDS if "client" in str(backend)])
async def racing(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[ServerIndex, Meanwhile]]:
    """An index, and what another client does as soon as the next read is answered."""
    async with open_client(request.param) as client:
        collection, retrieve = f"test-{uuid.uuid4().hex}", client.retrieve

        def meanwhile(another: Callable[[], Awaitable[None]]) -> None:
            async def reading(*arguments: Any, **options: Any) -> Any:
                found = await retrieve(*arguments, **options)
                monkeypatch.undo()
                await another()
                return found

            monkeypatch.setattr(client, "retrieve", reading)

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
