"""The clients of `notellm.client` against a real service with a small model."""

import re
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from harness.service import running_service
from notellm.client import AsyncNoteClient, InvalidRequest, NoteClient, NoteNotFound
from notellm.messages import SuggestRequest
from notellm.note import Note
from tests.service.calls import NOTES

ROOT = Path(__file__).parents[3]


@pytest.fixture
def notes(client: httpx.AsyncClient) -> AsyncNoteClient:
    return AsyncNoteClient("http://test", http=client, timeout=60)


async def test_a_note_is_embedded_found_read_and_deleted(notes: AsyncNoteClient, client: httpx.AsyncClient) -> None:
    stored = await notes.embed(NOTES)
    assert [one.status for one in stored] == ["stored"] * len(NOTES)
    read = await notes.get("a1", vector=True)
    assert read.vector == stored[0].vector
    assert (await notes.get("a1")).vector is None
    plain = (await client.get("/notes/a1/similar", params={"limit": 2})).json()
    found = await notes.similar("a1", limit=2)
    assert [(one.id, one.score) for one in found.neighbours] == [(one["id"], one["score"]) for one in plain["neighbours"]]
    listed = [note async for note in notes.iter_notes()]
    assert {one.id: one.vector for one in listed} == {note["id"]: one.vector for note, one in zip(NOTES, stored, strict=True)}
    assert {one.id: one.content_hash for one in listed}["a1"] == read.content_hash
    assert await notes.delete("a1")
    assert not await notes.delete("a1")
    with pytest.raises(NoteNotFound, match="a1") as raised:
        await notes.similar("a1")
    assert raised.value.request_id
    assert (await notes.model()).notes == len(NOTES) - 1


async def test_cold_start_and_a_history(notes: AsyncNoteClient) -> None:
    await notes.embed([Note.model_validate(note) for note in NOTES])
    cold = await notes.similar_to({"title": NOTES[0]["title"]}, limit=1, diversity=0.5)
    assert len(cold.neighbours) == 1
    history = await notes.similar_to(ids=["a1", "gone"], skip_missing=True, exclude=["a2"])
    assert history.missing == ["gone"]
    assert {one.id for one in history.neighbours} == {note["id"] for note in NOTES} - {"a1", "a2"}
    with pytest.raises(InvalidRequest, match="either note or ids"):
        await notes.similar_to()


async def test_suggestions(notes: AsyncNoteClient) -> None:
    suggested = await notes.suggest([{"title": "cold brew coffee"}] * 20, count=2)
    assert len(suggested) == 20
    assert all(len(one.hashtags) <= 2 for one in suggested)
    both = await notes.embed([{"id": "new", "title": "cold brew coffee"}], suggest=SuggestRequest(count=2, category=False))
    assert both[0].suggestions is not None
    assert both[0].suggestions.category is None


async def test_a_wrong_note_is_named_by_its_place_in_the_list(notes: AsyncNoteClient) -> None:
    many: list[dict[str, Any]] = [{"id": f"n{number}", "title": "x"} for number in range(70)]
    many[66]["title"] = "x" * 2001
    with pytest.raises(InvalidRequest) as raised:
        await notes.embed(many)
    assert raised.value.reasons.keys() == {66}


async def test_vectors_of_texts(notes: AsyncNoteClient) -> None:
    vectors = await notes.encode(["cold brew", "espresso"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    embedded = await notes.embed([{"id": "x", "content": "espresso"}], store=False)
    np.testing.assert_allclose(vectors[1], np.array(embedded[0].vector), atol=1e-6)


def examples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs/client.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def address(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with running_service(tiny_path, tmp_path_factory.mktemp("client")) as service:
        yield service.url


@pytest.mark.parametrize("number", range(len(examples())))
def test_the_programs_of_the_page_run(number: int, address: str, capsys: pytest.CaptureFixture[str]) -> None:
    program = examples()[number]
    assert program.count("http://127.0.0.1:8000") == 1
    exec(compile(program.replace("http://127.0.0.1:8000", address), "docs/client.md", "exec"), {"__name__": "program"})
    if "problem.reasons" in program:
        assert capsys.readouterr().out.startswith("wrong: title: String should have at most 2000 characters")


def test_the_page_lists_every_method() -> None:
    page = (ROOT / "docs/client.md").read_text(encoding="utf-8")
    methods = {name for name in vars(NoteClient) if not name.startswith("_")} - {"close", "ask"}
    assert set(re.findall(r"^\| `(\w+)\(", page, re.MULTILINE)) == methods
