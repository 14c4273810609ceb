"""The stand-in is as strict as Qdrant 1.18.3. Where `NOTELLM_TEST_QDRANT_URL` names a server, the same holds for it."""

import os
import uuid
from collections.abc import AsyncIterator

import grpc
import pytest
from qdrant_client import AsyncQdrantClient, models

from tests.qdrant import QdrantStandIn

POINTS = [str(uuid.UUID(int=number)) for number in range(3)]
LACKING = models.Filter(must_not=[models.HasVectorCondition(has_vector="gone")])


def upsert(vectors: dict[str, list[float]], point: str = str(uuid.UUID(int=9))) -> models.UpsertOperation:
    stored = models.PointStruct(id=point, vector=vectors, payload={"n": 2})
    return models.UpsertOperation(upsert=models.PointsList(points=[stored]))


@pytest.fixture(params=["stand-in", pytest.param("server", marks=pytest.mark.needs("qdrant"))])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[AsyncQdrantClient]:
    if request.param == "server":
        connected = AsyncQdrantClient(os.environ["NOTELLM_TEST_QDRANT_URL"], prefer_grpc=True)
        yield connected
        await connected.close()
        return
    stand_in = QdrantStandIn()
    await stand_in.start()
    connected = AsyncQdrantClient(
        host="127.0.0.1", grpc_port=stand_in.port, prefer_grpc=True, check_compatibility=False, https=False
    )
    yield connected
    await connected.close()
    await stand_in.stop()


@pytest.fixture
async def collection(client: AsyncQdrantClient) -> AsyncIterator[str]:
    """Three points with a vector `held` of two dimensions."""
    name = f"test-{uuid.uuid4().hex}"
    config = {"held": models.VectorParams(size=2, distance=models.Distance.COSINE)}
    await client.create_collection(name, vectors_config=config)
    await client.batch_update_points(name, [upsert({"held": [1.0, 0.0]}, point) for point in POINTS], wait=True)
    yield name
    await client.delete_collection(name)


def fill(vectors: dict[str, list[float]]) -> models.UpdateVectorsOperation:
    changed = [models.PointVectors(id=POINTS[0], vector=vectors)]
    return models.UpdateVectorsOperation(update_vectors=models.UpdateVectors(points=changed))


@pytest.mark.parametrize("call", ["search", "search with vectors", "get", "scroll"])
async def test_reads_of_a_name_that_is_not_there_are_refused(client: AsyncQdrantClient, collection: str, call: str) -> None:
    reads = {
        "search": lambda: client.query_points(collection, query=[1.0, 0.0], using="gone"),
        "search with vectors": lambda: client.query_points(collection, query=[1.0, 0.0], using="held", with_vectors=["gone"]),
        "get": lambda: client.retrieve(collection, POINTS, with_vectors=["gone"]),
        "scroll": lambda: client.scroll(collection, with_vectors=["held", "gone"]),
    }
    with pytest.raises(grpc.aio.AioRpcError, match="Not existing vector name error: gone") as refused:
        await reads[call]()  # type: ignore[no-untyped-call]
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "operation",
    [
        upsert({"gone": [1.0, 0.0]}),
        upsert({"held": [1.0, 0.0], "gone": [1.0, 0.0]}),
        upsert({"held": [1.0, 0.0, 0.0]}),
        fill({"gone": [1.0, 0.0]}),
        fill({"held": [1.0]}),
    ],
    ids=["upsert", "beside a good one", "a wrong length", "fill", "fill of a wrong length"],
)
async def test_writes_of_such_vectors_are_refused_and_store_nothing(
    client: AsyncQdrantClient, collection: str, operation: models.UpdateOperation
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.batch_update_points(collection, [operation])
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    points, _ = await client.scroll(collection, with_vectors=["held"])
    assert [(point.id, point.vector) for point in points] == [(point, {"held": [1.0, 0.0]}) for point in POINTS]


async def test_points_that_lack_a_name_that_is_not_there_are_all_points(client: AsyncQdrantClient, collection: str) -> None:
    points, _ = await client.scroll(collection, scroll_filter=LACKING)
    assert [point.id for point in points] == POINTS
    assert (await client.count(collection, count_filter=LACKING, exact=True)).count == 3


async def test_a_name_may_be_deleted_twice_and_a_collection_without_names_lists_its_points(
    client: AsyncQdrantClient, collection: str
) -> None:
    for name in ("gone", "held", "held"):
        result = await client.delete_vector_name(collection, name)
        assert result.status is models.UpdateStatus.COMPLETED
    points, _ = await client.scroll(collection, with_vectors=False)
    assert [point.id for point in points] == POINTS


async def test_exact_counts_are_exact(client: AsyncQdrantClient, collection: str) -> None:
    """An estimate with a filter is far off for few points."""
    none = models.Filter(must=[models.FieldCondition(key="n", range=models.Range(gte=5))])
    assert (await client.count(collection, count_filter=none, exact=True)).count == 0
    assert (await client.count(collection, exact=True)).count == 3
