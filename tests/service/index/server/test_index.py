"""`ServerIndex` and the server: how it connects, what it makes, what it asks again."""

import asyncio
from pathlib import Path

import grpc
import pytest
import trustme
from qdrant_client import AsyncQdrantClient, grpc as protocol

from service.caller import Caller, caller
from service.errors import IndexUnavailable, StartupError
from service.index import NoteFilter, ServerIndex
from service.index.server.collection import CollectionSettings
from service.index.server.connection import ServerAddress, connect
from tests.qdrant import QdrantStandIn
from tests.service.index.backends import DIMENSIONS, LOCAL_MODE, NOTES, vector
from tests.service.index.server.asking import failing, open_index

KEY = "s3cret"


@LOCAL_MODE
async def test_another_models_collection_is_refused() -> None:
    client = AsyncQdrantClient(":memory:")
    await open_index(client)
    await open_index(client)
    for name, dimensions in (("m-2", DIMENSIONS), ("m-1", 8)):
        with pytest.raises(StartupError, match="holds vectors of m-1 and the checkpoint is"):
            await ServerIndex.open(client, collection="notes", vector_name=name, dimensions=dimensions)
    await client.close()


async def test_a_collection_is_made_as_the_settings_say(stand_in: QdrantStandIn, client: AsyncQdrantClient) -> None:
    settings = CollectionSettings(
        quantization="int8", vectors_on_disk=True, payload_on_disk=False, replication=3, write_consistency=2, shards=6
    )
    index = await open_index(client, settings=settings)
    await index.upsert(NOTES)
    (made,) = stand_in.calls("Create")
    assert (made.replication_factor, made.write_consistency_factor, made.shard_number) == (3, 2, 6)
    assert made.on_disk_payload is False
    vectors = made.vectors_config.params_map.map["m-1"]
    assert vectors.size == DIMENSIONS
    assert vectors.distance == protocol.Distance.Cosine
    assert vectors.on_disk is True
    assert vectors.quantization_config.scalar.type == protocol.QuantizationType.Int8
    assert vectors.quantization_config.scalar.always_ram is True


async def test_by_default_vectors_are_in_memory_and_whole(stand_in: QdrantStandIn, index: ServerIndex) -> None:
    assert await index.count() == 0
    (made,) = stand_in.calls("Create")
    assert (made.replication_factor, made.write_consistency_factor, made.HasField("shard_number")) == (1, 1, False)
    assert made.on_disk_payload is True
    vectors = made.vectors_config.params_map.map["m-1"]
    assert vectors.on_disk is False
    assert not vectors.HasField("quantization_config")


async def test_payload_indexes_are_there_before_the_first_note(stand_in: QdrantStandIn, index: ServerIndex) -> None:
    await index.upsert(NOTES)
    names = [name for name, _ in stand_in.requests]
    types = {made.field_name: made.field_type for made in stand_in.calls("CreateFieldIndex")}
    assert types == {
        "category": protocol.FieldType.FieldTypeKeyword,
        "hashtag_keys": protocol.FieldType.FieldTypeKeyword,
        "hashtags": protocol.FieldType.FieldTypeKeyword,
        "created_at": protocol.FieldType.FieldTypeDatetime,
        "version": protocol.FieldType.FieldTypeInteger,
        "deleted_version": protocol.FieldType.FieldTypeInteger,
    }
    assert all(made.wait for made in stand_in.calls("CreateFieldIndex"))
    assert max(n for n, name in enumerate(names) if name == "CreateFieldIndex") < names.index("UpdateBatch")


async def test_a_start_that_ended_half_way_is_made_good(stand_in: QdrantStandIn, client: AsyncQdrantClient) -> None:
    failing(stand_in, "CreateFieldIndex", grpc.StatusCode.INVALID_ARGUMENT)
    with pytest.raises(StartupError, match=r"refuses \(INVALID_ARGUMENT\).*as the test wants it"):
        await open_index(client)
    stand_in.fault = lambda _name, _request: None
    stand_in.requests.clear()
    await open_index(client)
    assert len(stand_in.calls("CreateFieldIndex")) == 6
    await open_index(client)
    assert len(stand_in.calls("CreateFieldIndex")) == 6


async def test_a_search_ranks_by_the_vectors_themselves(stand_in: QdrantStandIn, index: ServerIndex) -> None:
    await index.search(vector(1), where=NoteFilter(), limit=3)
    (asked,) = stand_in.calls("Query")
    assert asked.params.quantization.rescore is True
    assert asked.params.quantization.oversampling == 2


async def test_reads_are_tried_again(stand_in: QdrantStandIn, index: ServerIndex) -> None:
    await index.upsert(NOTES)
    for name, read, calls in (
        ("Get", index.get(["n1"]), 1),
        ("Query", index.search(vector(1), where=NoteFilter(), limit=3), 1),
        ("Count", index.count(), 3),  # an estimate of points, then points and what is left of deleted notes
    ):
        failing(stand_in, name, grpc.StatusCode.UNAVAILABLE, times=2)
        stand_in.requests.clear()
        assert await read
        assert len(stand_in.calls(name)) == calls + 2


async def test_no_try_begins_that_the_request_has_no_time_for(stand_in: QdrantStandIn, index: ServerIndex) -> None:
    failing(stand_in, "Get", grpc.StatusCode.UNAVAILABLE)
    stand_in.requests.clear()
    reset = caller.set(Caller(deadline=asyncio.get_running_loop().time()))
    with pytest.raises(IndexUnavailable):
        await index.get(["n1"])
    caller.reset(reset)
    assert len(stand_in.calls("Get")) == 1


async def test_a_refusal_is_neither_repeated_nor_held_against_the_server(stand_in: QdrantStandIn, index: ServerIndex) -> None:
    failing(stand_in, "Get", grpc.StatusCode.INVALID_ARGUMENT, times=10)
    stand_in.requests.clear()
    for _ in range(10):
        with pytest.raises(IndexUnavailable, match=r"refuses \(INVALID_ARGUMENT\)"):
            await index.get(["n1"])
    assert len(stand_in.calls("Get")) == 10
    assert await index.get(["n1"]) == {}


async def test_impatient_clients_do_not_close_the_server_to_others(stand_in: QdrantStandIn, index: ServerIndex) -> None:
    stand_in.delay = 60
    for _ in range(10):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(index.get(["n1"]), 0.02)
    stand_in.delay = 0
    assert await index.get(["n1"]) == {}


async def test_a_server_says_itself_when_to_come_back(stand_in: QdrantStandIn, index: ServerIndex) -> None:
    failing(stand_in, "Get", grpc.StatusCode.RESOURCE_EXHAUSTED)
    stand_in.trailing = (("retry-after", "7"),)
    stand_in.requests.clear()
    with pytest.raises(IndexUnavailable, match="limiting the rate") as limited:
        await index.get(["n1"])
    assert limited.value.headers == {"Retry-After": "7"}
    assert len(stand_in.calls("Get")) == 1


@pytest.mark.parametrize(("version", "accepted"), [("1.15.9", False), ("0.11.0", False), ("1.16.0", True), ("2.0.0-dev", True)])
async def test_a_server_that_ignores_conditions_is_refused(
    version: str, accepted: bool, stand_in: QdrantStandIn, client: AsyncQdrantClient
) -> None:
    stand_in.version = version
    if accepted:
        await open_index(client)
        return
    with pytest.raises(StartupError, match=r"need 1\.16 or newer"):
        await open_index(client)
    assert not stand_in.calls("Create")


@pytest.mark.parametrize(("key", "accepted"), [(KEY, True), ("wrong", False), (None, False)])
async def test_the_key_travels_with_every_call(key: str | None, accepted: bool) -> None:
    server = QdrantStandIn(api_key=KEY)
    await server.start()
    client = connect(ServerAddress("http://127.0.0.1", server.port, api_key=key), 5)
    if accepted:
        await (await open_index(client)).upsert(NOTES)
    else:
        with pytest.raises(StartupError, match=r"UNAUTHENTICATED.*NOTELLM_QDRANT_API_KEY") as refused:
            await open_index(client)
        assert "wrong" not in str(refused.value)
    await client.close()
    await server.stop()


async def test_tls(tmp_path: Path) -> None:
    authority, other = trustme.CA(), trustme.CA()
    certificate = authority.issue_cert("localhost")
    server = QdrantStandIn(
        api_key=KEY, tls=(certificate.private_key_pem.bytes(), b"".join(part.bytes() for part in certificate.cert_chain_pems))
    )
    await server.start()
    for trusted in (authority, other, None):
        file = None
        if trusted is not None:
            trusted.cert_pem.write_to_path(str(file := tmp_path / "ca.pem"))
        client = connect(ServerAddress("https://localhost", server.port, KEY, file), 5)
        if trusted is authority:
            await (await open_index(client)).upsert(NOTES)
        else:
            with pytest.raises(StartupError, match="Check NOTELLM_QDRANT_URL"):
                await open_index(client)
        await client.close()
    await server.stop()


def test_certificates_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="NOTELLM_QDRANT_CA_FILE"):
        connect(ServerAddress("https://localhost", 1, ca_file=tmp_path / "none.pem"), 5)
