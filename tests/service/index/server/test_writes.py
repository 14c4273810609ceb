"""`ServerWriter`: what travels to a server with a write, and what is not sent a second time."""

import grpc
import pytest
from qdrant_client import grpc as protocol

from service.errors import IndexUnavailable
from service.index import ServerIndex, Tombstone
from tests.qdrant import QdrantStandIn
from tests.service.index.backends import NOTES, indexed
from tests.service.index.server.asking import failing


async def test_writes_wait_and_carry_their_condition(stand_in: QdrantStandIn, index: ServerIndex) -> None:
    await index.upsert([indexed(1, version=5), indexed(2), indexed(3, version=7)])
    await index.delete(["n1"])
    written, deleted = stand_in.calls("UpdateBatch")
    assert written.wait
    assert deleted.wait
    conditions = [operation.upsert.update_filter for operation in written.operations]
    fields = [[(condition.field.key, condition.field.range) for condition in one.must_not] for one in conditions]
    assert [[(key, bound.gt or bound.gte) for key, bound in one] for one in fields] == [
        [("version", 5), ("deleted_version", 5)], [], [("version", 7), ("deleted_version", 7)],
    ]  # fmt: skip
    tombstone = deleted.operations[0].upsert
    assert tombstone.update_filter == conditions[0]
    assert set(tombstone.points[0].payload) == {"id", "deleted_version"}


async def test_a_write_is_one_request_behind_one_look(stand_in: QdrantStandIn, index: ServerIndex) -> None:
    numbered, bare = indexed(1, version=2), indexed(2)
    seen = await index.look(["n1", "n2"])
    for write, calls in (
        (lambda: index.upsert([numbered, bare]), ["Get", "UpdateBatch"]),
        (lambda: index.upsert([numbered, bare], seen=seen), ["UpdateBatch"]),
        (lambda: index.upsert([bare]), ["UpdateBatch"]),  # whatever is stored, this note replaces it
        (lambda: index.upsert([indexed(1, version=1)]), ["Get"]),
        (lambda: index.restore([indexed(1, version=3), indexed(3)]), ["Get", "UpdateBatch"]),
        (lambda: index.restore([indexed(1, version=3)]), ["Get"]),
        (lambda: index.delete(["n1", "n2", "n9"]), ["Get", "UpdateBatch"]),
        (lambda: index.delete(["n1", "n9"]), ["Get"]),
        (lambda: index.bury([Tombstone("n1", 7)]), ["Get", "UpdateBatch"]),
        (lambda: index.bury([Tombstone("n1", 7)]), ["Get"]),
    ):
        stand_in.requests.clear()
        await write()
        assert [name for name, _ in stand_in.requests] == calls


@pytest.mark.parametrize("status", [protocol.UpdateStatus.WaitTimeout, protocol.UpdateStatus.Acknowledged])
async def test_a_write_that_is_not_done_is_not_acknowledged(
    status: protocol.UpdateStatus.ValueType, stand_in: QdrantStandIn, index: ServerIndex
) -> None:
    stand_in.status = status
    for write in (index.upsert(NOTES), index.delete(["n1"])):
        with pytest.raises(IndexUnavailable, match="did not finish the write in time"):
            await write


async def test_writes_are_not(stand_in: QdrantStandIn, index: ServerIndex) -> None:
    await index.upsert(NOTES)
    for write in (index.upsert([indexed(1)]), index.upsert([indexed(1, version=1)]), index.delete(["n1"])):
        failing(stand_in, "UpdateBatch", grpc.StatusCode.UNAVAILABLE, times=1)
        stand_in.requests.clear()
        with pytest.raises(IndexUnavailable, match="does not answer"):
            await write
        assert len(stand_in.calls("UpdateBatch")) == 1
    assert await index.get(["n1"])
