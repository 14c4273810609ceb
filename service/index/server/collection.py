"""`Collection`: makes the collection on a Qdrant server, checks it at every start, and keeps its description."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from qdrant_client import AsyncQdrantClient, models

from service.errors import IndexUnavailable, StartupError
from service.index.base import DELETED
from service.index.description import Description, ModelVectors, check_served
from service.index.server.calls import ServerCalls

# An older server silently ignores the condition of a write, so that a late write would overwrite newer data.
OLDEST_SERVER = (1, 16)
_PAYLOAD_INDEXES: Mapping[str, models.PayloadSchemaType] = {
    "category": models.PayloadSchemaType.KEYWORD,
    "hashtag_keys": models.PayloadSchemaType.KEYWORD,
    "hashtags": models.PayloadSchemaType.KEYWORD,
    "created_at": models.PayloadSchemaType.DATETIME,
    "version": models.PayloadSchemaType.INTEGER,
    DELETED: models.PayloadSchemaType.INTEGER,
}
# Key in the collection's metadata. The value is text, because servers and clients merge nested values in different ways.
_DESCRIPTION = "notellm"
_INT8 = models.ScalarQuantization(
    scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
)


@dataclass(frozen=True)
class CollectionSettings:
    """Settings for a new collection; an existing collection is not changed.

    Attributes:
        quantization: `int8` keeps a copy of the vectors in memory, with one byte per component, for a first selection.
        vectors_on_disk: whether the vectors themselves are read from disk when they are needed.
        payload_on_disk: whether the notes' texts are read from disk when they are needed; filters always use indexes in memory.
        replication: number of copies of each shard.
        write_consistency: number of copies that must confirm a write before it is done.
        shards: number of shards; None for one per server node.
    """

    quantization: Literal["none", "int8"] = "none"
    vectors_on_disk: bool = False
    payload_on_disk: bool = True
    replication: int = 1
    write_consistency: int = 1
    shards: int | None = None


class Collection:
    """A collection on a server.

    Args:
        client: the client of the server.
        calls: makes the calls.
        name: name of the collection.
        settings: settings for a new collection, and for vectors that are added.
    """

    def __init__(self, client: AsyncQdrantClient, calls: ServerCalls, name: str, settings: CollectionSettings) -> None:
        self.name = name
        self._client = client
        self._calls = calls
        self._settings = settings

    async def prepare(self, vector_name: str, dimensions: int) -> None:
        """Makes the collection and its payload indexes if they are missing.

        Raises:
            StartupError: the server is too old, or the collection holds another model's vectors.
            IndexUnavailable: the server does not answer, or refuses.
        """
        ask = self._calls.repeatable
        _check_version((await ask(self._client.info)).version)
        if not await self._exists():
            await self._create(vector_name, dimensions)
        description = await self.read(vector_name)
        check_served(
            f"the collection {self.name}", description, vector_name, dimensions,
            "set NOTELLM_QDRANT_COLLECTION to a new name and embed the notes again",
        )  # fmt: skip
        info = await self._info()
        for field, schema in _PAYLOAD_INDEXES.items():
            if field not in info.payload_schema:  # the start that made the collection may have been interrupted
                await ask(partial(self._client.create_payload_index, self.name, field, schema))

    async def read(self, vector_name: str) -> Description:
        """Reads the description. Before the first migration there is none: `vector_name` answers if its vectors exist."""
        return self._described(await self._info(), vector_name)

    async def write(self, description: Description) -> None:
        """See `NoteIndex.describe_as`."""
        held = held_vectors(await self._info())
        for model in description.models:
            if model.vector not in held:
                await self._add(model)
        metadata = {_DESCRIPTION: description.write()}
        await self._calls.repeatable(lambda: self._client.update_collection(self.name, metadata=metadata))

    async def drop(self, vector_name: str) -> None:
        """See `NoteIndex.drop`.

        Several replicas may drop vectors at the same time, and one of them may start a migration right after. The server accepts that a
        name is deleted twice. The description is read again, because other replicas may have changed it.
        """
        info = await self._info()
        description = self._described(info, vector_name)
        description.check_drop(vector_name)
        if description.dropping != vector_name:
            return
        if vector_name in held_vectors(info):
            await self._calls.once(lambda: self._client.delete_vector_name(self.name, vector_name))
        latest = await self.read(vector_name)
        if latest.dropping == vector_name:
            await self.write(latest.model_copy(update={"dropping": None}))
        elif vector_name in {model.vector for model in latest.models}:
            await self.write(latest)  # a migration back to this model has begun: create its vectors again

    def _described(self, info: models.CollectionInfo, vector_name: str) -> Description:
        if text := (info.config.metadata or {}).get(_DESCRIPTION):
            return Description.read(str(text), f"the description of the collection {self.name}")
        vectors = held_vectors(info)
        served = vector_name if vector_name in vectors else next(iter(vectors), "no named model")
        return Description(vector=served, dimensions=vectors.get(served, 0))

    async def _add(self, model: ModelVectors) -> None:
        """Adds vectors with the settings of the first ones. One call sets what cannot be changed later, a second call sets the rest."""
        config = models.DenseVectorNameConfig(
            dense=models.DenseVectorConfig(size=model.dimensions, distance=models.Distance.COSINE)
        )
        await self._calls.once(lambda: self._client.create_vector_name(self.name, model.vector, config))
        settings = self._settings
        rest = models.VectorParamsDiff(
            on_disk=settings.vectors_on_disk, quantization_config=_INT8 if settings.quantization == "int8" else None
        )
        await self._calls.repeatable(lambda: self._client.update_collection(self.name, vectors_config={model.vector: rest}))

    async def _create(self, vector_name: str, dimensions: int) -> None:
        settings = self._settings
        params = models.VectorParams(
            size=dimensions,
            distance=models.Distance.COSINE,
            on_disk=settings.vectors_on_disk,
            quantization_config=_INT8 if settings.quantization == "int8" else None,
        )
        try:
            await self._calls.once(  # a retry would be refused, because the collection exists
                lambda: self._client.create_collection(
                    self.name,
                    vectors_config={vector_name: params},
                    shard_number=settings.shards,
                    replication_factor=settings.replication,
                    write_consistency_factor=settings.write_consistency,
                    on_disk_payload=settings.payload_on_disk,
                )
            )
        except IndexUnavailable:
            if not await self._exists():  # if it exists, another replica was faster
                raise

    async def _exists(self) -> bool:
        return await self._calls.repeatable(lambda: self._client.collection_exists(self.name))

    async def _info(self) -> models.CollectionInfo:
        return await self._calls.repeatable(lambda: self._client.get_collection(self.name))


def _check_version(version: str) -> None:
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if numbers < OLDEST_SERVER:
        raise StartupError(
            f"the Qdrant server is version {version}, and writes that depend on a note's version need "
            f"{'.'.join(map(str, OLDEST_SERVER))} or newer: upgrade it"
        )


def held_vectors(info: models.CollectionInfo) -> dict[str, int]:
    """Returns the dimensions of the vectors, by name."""
    found = info.config.params.vectors
    return {name: params.size for name, params in found.items()} if isinstance(found, dict) else {}
