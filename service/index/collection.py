"""`CollectionSettings` and `prepare`: the collection of a Qdrant server, made once and checked at every start."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from qdrant_client import AsyncQdrantClient, models

from service.errors import IndexUnavailable, StartupError
from service.index.calls import ServerCalls

# An older server ignores the condition of a write without a word, and a replay would overwrite what is newer.
OLDEST_SERVER = (1, 16)
_PAYLOAD_INDEXES: Mapping[str, models.PayloadSchemaType] = {
    "category": models.PayloadSchemaType.KEYWORD,
    "hashtag_keys": models.PayloadSchemaType.KEYWORD,
    "created_at": models.PayloadSchemaType.DATETIME,
    "version": models.PayloadSchemaType.INTEGER,
}


@dataclass(frozen=True)
class CollectionSettings:
    """How a new collection is made; one that exists stays as it is.

    Attributes:
        quantization: `int8` keeps a copy of the vectors of a byte a component in memory, for a first selection.
        vectors_on_disk: whether the vectors themselves are read from disk when they are needed.
        payload_on_disk: the same for the notes' texts; what filters need is in memory in any case.
        replication: copies of each shard.
        write_consistency: copies that must have a write before it counts as done.
        shards: parts of the collection; as many as the server has nodes if None.
    """

    quantization: Literal["none", "int8"] = "none"
    vectors_on_disk: bool = False
    payload_on_disk: bool = True
    replication: int = 1
    write_consistency: int = 1
    shards: int | None = None


async def prepare(
    client: AsyncQdrantClient,
    calls: ServerCalls,
    collection: str,
    vectors: tuple[str, int],
    settings: CollectionSettings,
) -> None:
    """Makes the collection where it is missing, and its payload indexes, before there is anything in it.

    Args:
        client: of the server.
        calls: how it is asked.
        collection: its name.
        vectors: their name and dimensions.
        settings: of a new collection.

    Raises:
        StartupError: the server is too old, or the collection holds another model's vectors.
        IndexUnavailable: the server does not answer, or refuses.
    """
    _check_version((await calls.repeatable(client.info)).version)
    if not await calls.repeatable(lambda: client.collection_exists(collection)):
        await _create(client, calls, collection, vectors, settings)
    info = await calls.repeatable(lambda: client.get_collection(collection))
    _check_vectors(collection, info.config.params.vectors, vectors)
    for field, schema in _PAYLOAD_INDEXES.items():
        if field not in info.payload_schema:  # the start that made the collection may have ended half-way
            await calls.repeatable(partial(client.create_payload_index, collection, field, schema))


async def _create(
    client: AsyncQdrantClient, calls: ServerCalls, collection: str, vectors: tuple[str, int], settings: CollectionSettings
) -> None:
    name, dimensions = vectors
    int8 = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
    params = models.VectorParams(
        size=dimensions,
        distance=models.Distance.COSINE,
        on_disk=settings.vectors_on_disk,
        quantization_config=models.ScalarQuantization(scalar=int8) if settings.quantization == "int8" else None,
    )
    try:
        await calls.once(  # a second time it would be refused: the collection exists
            lambda: client.create_collection(
                collection,
                vectors_config={name: params},
                shard_number=settings.shards,
                replication_factor=settings.replication,
                write_consistency_factor=settings.write_consistency,
                on_disk_payload=settings.payload_on_disk,
            )
        )
    except IndexUnavailable:
        if not await calls.repeatable(lambda: client.collection_exists(collection)):  # or another replica was faster
            raise


def _check_version(version: str) -> None:
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if numbers < OLDEST_SERVER:
        raise StartupError(
            f"the Qdrant server is version {version}, and writes that depend on a note's version need "
            f"{'.'.join(map(str, OLDEST_SERVER))} or newer: upgrade it"
        )


def _check_vectors(collection: str, found: object, wanted: tuple[str, int]) -> None:
    name, dimensions = wanted
    named: Mapping[str, models.VectorParams] = found if isinstance(found, dict) else {}
    if name not in named or named[name].size != dimensions:
        raise StartupError(
            f"the collection {collection} holds vectors of {', '.join(sorted(named)) or 'no named model'} and the checkpoint is "
            f"{name}: serve the checkpoint it was made with, or set NOTELLM_QDRANT_COLLECTION to a new name and embed the notes again"
        )
