"""`open_index`: opens the index that the settings select."""

import asyncio
from pathlib import Path

from notellm.checkpoint import Checkpoint, vector_name_of
from service.errors import StartupError
from service.index import EdgeIndex, NoteIndex, ServerIndex
from service.index.description import AnotherModel
from service.index.edge.files import DESCRIPTION
from service.index.server.collection import CollectionSettings
from service.index.server.connection import ServerAddress, connect
from service.settings import MIB, Settings


def embedded_directory(settings: Settings) -> Path:
    """Returns the directory of the embedded index, whether or not there is one."""
    return settings.data_dir / "index"


def holds_index(directory: Path) -> bool:
    """Whether there is an embedded index in a directory."""
    return (directory / DESCRIPTION).exists()


async def open_index(settings: Settings, checkpoint: Checkpoint) -> NoteIndex:
    """Opens the index of the settings for the checkpoint's vectors, or makes it if it does not exist.

    Raises:
        StartupError: the index is not usable.
    """
    try:
        return await _open_index(settings, checkpoint)
    except AnotherModel as error:
        raise error.naming(settings.checkpoint) from error


async def _open_index(settings: Settings, checkpoint: Checkpoint) -> NoteIndex:
    manifest = checkpoint.manifest
    vector_name = vector_name_of(checkpoint)
    if settings.qdrant_url is None:
        return await asyncio.to_thread(
            EdgeIndex.open, embedded_directory(settings), vector_name=vector_name, dimensions=manifest.dimensions,
            min_free_bytes=settings.min_free_disk_mib * MIB,
        )  # fmt: skip
    key = settings.qdrant_api_key
    address = ServerAddress(
        settings.qdrant_url, settings.qdrant_grpc_port, key.get_secret_value() if key else None, settings.qdrant_ca_file
    )
    client = connect(address, settings.qdrant_timeout_seconds)
    try:
        return await ServerIndex.open(
            client,
            collection=settings.qdrant_collection,
            vector_name=vector_name,
            dimensions=manifest.dimensions,
            settings=CollectionSettings(
                settings.qdrant_quantization,
                settings.qdrant_vectors_on_disk,
                settings.qdrant_payload_on_disk,
                settings.qdrant_replication,
                settings.qdrant_write_consistency,
                settings.qdrant_shards,
            ),
            timeout_seconds=settings.qdrant_timeout_seconds,
        )
    except StartupError:
        await client.close()
        raise
