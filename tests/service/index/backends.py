"""Every index that there is, and notes for it: what holds for one must hold for the others."""

import os
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient

from notellm import Note
from service.index import EdgeIndex, IndexedNote, NoteIndex, ServerIndex, Tombstone, Vector
from service.index.server.connection import ServerAddress, connect
from tests.qdrant import QdrantStandIn

DIMENSIONS = 16
SERVER = os.environ.get("NOTELLM_TEST_QDRANT_URL")
# Local mode says what it does not do.
LOCAL_MODE = pytest.mark.filterwarnings(
    "ignore:Payload indexes have no effect:UserWarning", "ignore:Local mode performs exact:UserWarning"
)
BACKENDS = [
    "edge",
    pytest.param("client-local", marks=LOCAL_MODE),
    "client-grpc",
    pytest.param("client-server", marks=pytest.mark.needs("qdrant")),
]
# Local mode takes any name of vectors.
STRICT_BACKENDS = [BACKENDS[0], *BACKENDS[2:]]


def vector(seed: int) -> Vector:
    values = np.random.default_rng(seed).standard_normal(DIMENSIONS).astype(np.float32)
    return values / np.linalg.norm(values)


def indexed(number: int, **changes: object) -> IndexedNote:
    fields: dict[str, object] = {
        "id": f"n{number}",
        "title": f"title {number}",
        "hashtags": ["King Glory"] if number % 3 == 0 else ["other"],
        "category": "even" if number % 2 == 0 else "odd",
        "created_at": datetime(2026, 1, 1 + number, tzinfo=UTC),
    }
    note = Note.model_validate(fields | changes)
    return IndexedNote(note.payload(), vector(number))


async def deleted_versions(index: NoteIndex, ids: Sequence[str]) -> dict[str, int]:
    """The versions of the tombstones under these ids."""
    found = await index.look(ids)
    return {entry.id: entry.version for entry in found.values() if isinstance(entry, Tombstone)}


NOTES = [indexed(number) for number in range(20)]


@asynccontextmanager
async def open_client(backend: str) -> AsyncIterator[AsyncQdrantClient]:
    """In local mode, or by gRPC: to the protocol's stand-in, to a server."""
    if backend == "client-local":
        yield AsyncQdrantClient(":memory:")
    elif backend == "client-grpc":
        stand_in = QdrantStandIn()
        await stand_in.start()
        yield connect(ServerAddress("http://127.0.0.1", stand_in.port), 10)
        await stand_in.stop()
    else:
        assert SERVER is not None
        yield connect(ServerAddress(SERVER), 10)


@asynccontextmanager
async def open_index(backend: str, folder: Path) -> AsyncIterator[NoteIndex]:
    """An empty index."""
    opened: NoteIndex
    if backend == "edge":
        opened = EdgeIndex.open(folder / "index", vector_name="m-1", dimensions=DIMENSIONS)
        yield opened
        await opened.close()
        return
    async with open_client(backend) as client:
        collection = f"test-{uuid.uuid4().hex}"
        opened = await ServerIndex.open(client, collection=collection, vector_name="m-1", dimensions=DIMENSIONS)
        yield opened
        await client.delete_collection(collection)
        await opened.close()
