"""`NoteService`: what it asks the index, and what it lets the model read."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest

from notellm import Note
from notellm.prompt import NotePrompt
from service.errors import InvalidRequest, NoteNotFound
from service.index import IndexedNote, Tombstone, Vector
from service.serving import Runtime, open_service
from service.settings import Settings
from tests.qdrant import QdrantStandIn
from tests.service.gate import Gate

Server = tuple[Runtime, QdrantStandIn]


def note(note_id: str, **fields: object) -> Note:
    return Note.model_validate({"id": note_id, "title": f"title of {note_id}"} | fields)


@pytest.fixture
async def on_server(settings_for: Callable[..., Settings], stand_in: QdrantStandIn) -> AsyncIterator[Server]:
    """The service over a Qdrant server, or over what speaks like one."""
    async with open_service(settings_for(qdrant_url="http://127.0.0.1", qdrant_grpc_port=stand_in.port)) as runtime:
        yield runtime, stand_in


@pytest.fixture
def tokenized(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The titles of all notes that were tokenised."""
    titles: list[str] = []
    tokenize = NotePrompt.tokenize

    def counted(self: NotePrompt, notes: Any) -> Any:
        titles.extend(one.title for one in notes)
        return tokenize(self, notes)

    monkeypatch.setattr(NotePrompt, "tokenize", counted)
    return titles


def unit_vector(runtime: Runtime) -> Vector:
    vector = np.zeros(runtime.served.notes.manifest.dimensions, dtype=np.float32)
    vector[0] = 1
    return vector


def requests(stand_in: QdrantStandIn) -> list[str]:
    """The requests about points since the last call; the service looks at the collection by itself now and then."""
    found = [type(message).__name__ for _, message in stand_in.requests]
    stand_in.requests.clear()
    return [name for name in found if name in {"GetPoints", "UpdateBatchPoints"}]


async def test_a_write_asks_a_server_twice(on_server: Server) -> None:
    runtime, stand_in = on_server
    stand_in.requests.clear()
    for version in (1, 2):
        assert [one.status for one in await runtime.served.notes.store([note("a", version=version)])] == ["stored"]
        assert requests(stand_in) == ["GetPoints", "UpdateBatchPoints"]
    for version, status in ((2, "unchanged"), (1, "stale")):
        assert [one.status for one in await runtime.served.notes.store([note("a", version=version)])] == [status]
        assert requests(stand_in) == ["GetPoints"]
    await runtime.served.notes.delete("a")
    assert requests(stand_in) == ["GetPoints", "UpdateBatchPoints"]
    with pytest.raises(NoteNotFound, match="not stored: a, so there is nothing to delete"):
        await runtime.served.notes.delete("a")
    assert requests(stand_in) == ["GetPoints"]


async def test_a_write_that_was_overtaken_while_it_was_embedded(on_server: Server, gate: Gate) -> None:
    """A server does not say so; the note counts as stored and replaced at once. Whoever asks finds the higher version."""
    runtime, _ = on_server
    storing = asyncio.create_task(runtime.served.notes.store([note("a", version=4)]))
    assert await asyncio.to_thread(gate.entered.wait, 10)
    await runtime.index.upsert([IndexedNote(note("a", version=5).payload(), unit_vector(runtime))])
    gate.open.set()
    assert [one.status for one in await storing] == ["stored"]
    assert (await runtime.served.notes.get("a")).version == 5


async def test_a_write_that_was_overtaken_while_it_was_embedded_is_stale(runtime: Runtime, gate: Gate) -> None:
    """An embedded index is looked at in the same step as it is written."""
    storing = asyncio.create_task(runtime.served.notes.store([note("a", version=4)]))
    assert await asyncio.to_thread(gate.entered.wait, 10)
    await runtime.index.upsert([IndexedNote(note("a", version=5).payload(), unit_vector(runtime))])
    gate.open.set()
    [late] = await storing
    assert (late.status, late.vector) == ("stale", None)
    assert late.tokens > 0, "it was embedded all the same"


async def test_what_is_not_embedded_is_not_tokenised(runtime: Runtime, tokenized: list[str]) -> None:
    await runtime.served.notes.store([note("same"), note("moved"), note("newer", version=2), note("gone", version=3)])
    await runtime.served.notes.delete("gone")
    tokenized.clear()
    sent = [
        note("same"), note("moved", category="tea"), note("newer", version=1, title="old"), note("gone", version=3, title="late"),
        note("new", content="sour " * 300), note("same-text", title="title of same"),
    ]  # fmt: skip
    results = await runtime.served.notes.store(sent)
    assert [one.status for one in results] == ["unchanged", "stored", "stale", "stale", "stored", "stored"]
    assert tokenized == ["title of new", "title of same"]
    assert [one.tokens > 0 for one in results] == [False, False, False, False, True, True]
    assert [one.truncated for one in results] == [(), (), (), (), ("content",), ()]
    assert [one.vector is not None for one in results] == [True, True, False, False, True, True]
    tokenized.clear()
    assert [one.tokens for one in await runtime.served.notes.store(sent[:2])] == [0, 0]
    assert tokenized == []


async def test_with_strict_every_note_is_checked(runtime: Runtime, tokenized: list[str]) -> None:
    """Also one that is stored already, cut."""
    long = note("long", content="sour " * 300)
    await runtime.served.notes.store([long, note("short")])
    tokenized.clear()
    assert [one.status for one in await runtime.served.notes.store([note("short")], strict=True)] == ["unchanged"]
    assert tokenized == ["title of short"]
    with pytest.raises(InvalidRequest) as refused:
        await runtime.served.notes.store([note("short"), long, note("new")], strict=True)
    assert [error.field for error in refused.value.errors] == ["notes[1].content"]
    assert await runtime.index.count() == 2
    results = await runtime.served.notes.store([note("short"), note("new")], strict=True)
    assert [(one.status, one.tokens > 0) for one in results] == [("unchanged", False), ("stored", True)]


async def test_a_deleted_note_is_not_embedded_again_for_an_old_version(on_server: Server, gate: Gate) -> None:
    runtime, _ = on_server
    await runtime.index.bury([Tombstone("a", 3)])
    assert [one.status for one in await runtime.served.notes.store([note("a", version=3)])] == ["stale"]
    assert gate.batches == []
