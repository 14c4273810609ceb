"""`NoteArchive`: what becomes of the notes of a backup, and what the index is asked for it."""

from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from notellm import Note
from service.index import ServerIndex
from service.index.server.connection import ServerAddress, connect
from service.notes import ArchivedNote, Deletion, NoteArchive, vector_to_base64
from service.observability import Metrics
from tests.qdrant import QdrantStandIn


@pytest.fixture
async def archive(stand_in: QdrantStandIn) -> AsyncIterator[NoteArchive]:
    """Over an empty collection of a server."""
    client = connect(ServerAddress("http://127.0.0.1", stand_in.port), 5)
    index = await ServerIndex.open(client, collection="notes", vector_name="m-1", dimensions=4)
    stand_in.requests.clear()
    yield NoteArchive(index, 4, Metrics())
    await index.close()


def archived(note_id: str, version: int | None, **fields: Any) -> ArchivedNote:
    note = Note.model_validate({"id": note_id, "title": "kept", "version": version} | fields)
    vector = vector_to_base64(np.array([1, 0, 0, 0], dtype=np.float32))
    return ArchivedNote(note=note, content_hash=note.content_hash, vector=vector)


def requests(stand_in: QdrantStandIn) -> list[str]:
    names = [name for name, _ in stand_in.requests]
    stand_in.requests.clear()
    return names


async def test_a_restored_note_asks_a_server_twice(archive: NoteArchive, stand_in: QdrantStandIn) -> None:
    backup = [archived("a", 2), archived("b", None)]
    assert await archive.restore(backup, "m-1") == ["stored", "stored"]
    assert requests(stand_in) == ["Get", "UpdateBatch"]
    assert await archive.restore(backup, "m-1") == ["unchanged", "unchanged"]
    assert requests(stand_in) == ["Get"]
    later = [archived("a", 3), archived("b", None, title="other"), archived("c", 1)]
    assert await archive.restore(later, "m-1") == ["stored", "kept", "stored"]
    assert requests(stand_in) == ["Get", "UpdateBatch"]


async def test_a_deletion_asks_a_server_twice(archive: NoteArchive, stand_in: QdrantStandIn) -> None:
    await archive.restore([archived("a", 2), archived("b", None)], "m-1")
    requests(stand_in)
    gone = [Deletion(id="a", version=2), Deletion(id="b", version=2), Deletion(id="c", version=2)]
    assert await archive.bury(gone) == ["deleted", "kept", "deleted"]
    assert requests(stand_in) == ["Get", "UpdateBatch"]
    assert await archive.bury([gone[0], gone[2]]) == ["unchanged", "unchanged"]
    assert requests(stand_in) == ["Get"]
