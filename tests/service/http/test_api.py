"""What the routes answer."""

import asyncio
import base64
from typing import Any

import httpx
import numpy as np
import pytest

from notellm import Note
from service.engines import LocalEngine
from service.index import IndexedNote
from tests.service.calls import NOTES, Json, embed, neighbours


@pytest.fixture
def embedded_prompts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of prompts that went through the model, call by call."""
    calls: list[int] = []
    original = LocalEngine.embed

    def counting(self: LocalEngine, prompts: Any) -> Any:
        calls.append(len(prompts))
        return original(self, prompts)

    monkeypatch.setattr(LocalEngine, "embed", counting)
    return calls


async def test_embed_answers_with_unit_vectors_in_order(client: httpx.AsyncClient) -> None:
    response = await client.post("/notes/embed", json={"notes": NOTES})
    body = response.json()
    assert (body["model"], body["dimensions"]) == ("tiny", 48)
    assert [note["id"] for note in body["notes"]] == ["a1", "a2", "b1", "zh"]
    assert {note["status"] for note in body["notes"]} == {"stored"}
    np.testing.assert_allclose([np.linalg.norm(note["vector"]) for note in body["notes"]], 1, atol=1e-6)
    assert [note["truncated"] for note in body["notes"]][2] == ["content"]
    assert response.headers["API-Version"] == "1"


async def test_base64_holds_the_same_float32_values(client: httpx.AsyncClient) -> None:
    numbers = await embed(client, NOTES[:1], store=False)
    packed = await embed(client, NOTES[:1], store=False, encoding_format="base64")
    assert np.frombuffer(base64.b64decode(packed[0]["vector"]), "<f4").tolist() == numbers[0]["vector"]


async def test_vectors_can_be_left_out(client: httpx.AsyncClient) -> None:
    assert "vector" not in (await embed(client, NOTES[:1], vectors=False))[0]


async def test_without_store_nothing_is_stored(client: httpx.AsyncClient) -> None:
    assert (await embed(client, NOTES[:1], store=False))[0]["status"] == "embedded"
    assert (await client.get("/notes/a1")).status_code == 404


async def test_an_unchanged_note_is_not_embedded_again(client: httpx.AsyncClient, embedded_prompts: list[int]) -> None:
    first = await embed(client, NOTES)
    again = await embed(client, NOTES)
    assert [note["status"] for note in again] == ["unchanged"] * len(NOTES)
    assert sum(embedded_prompts) == len(NOTES)
    np.testing.assert_allclose([n["vector"] for n in again], [n["vector"] for n in first], atol=1e-6)
    assert all(note["tokens"] > 0 for note in first)
    assert [(note["tokens"], note["truncated"]) for note in again] == [(0, [])] * len(NOTES)


async def test_a_changed_note_replaces_the_stored_one(client: httpx.AsyncClient, embedded_prompts: list[int]) -> None:
    await embed(client, NOTES)
    changed = await embed(client, [NOTES[0] | {"title": "Tea"}, NOTES[1]])
    assert [note["status"] for note in changed] == ["stored", "unchanged"]
    assert sum(embedded_prompts) == len(NOTES) + 1
    assert (await client.get("/notes/a1")).json()["title"] == "Tea"


async def test_a_change_that_the_model_does_not_read_costs_no_forward_pass(
    client: httpx.AsyncClient, embedded_prompts: list[int]
) -> None:
    before = await embed(client, NOTES[:1])
    after = await embed(client, [NOTES[0] | {"category": "tea", "version": 7}])
    assert after[0]["status"] == "stored"
    assert embedded_prompts == [1]
    np.testing.assert_allclose(after[0]["vector"], before[0]["vector"], atol=1e-6)
    assert (await client.get("/notes/a1")).json()["category"] == "tea"


async def test_a_lower_version_is_skipped(client: httpx.AsyncClient) -> None:
    await embed(client, [NOTES[0] | {"version": 5}])
    stale = (await embed(client, [NOTES[0] | {"version": 4, "title": "old"}]))[0]
    assert stale["status"] == "stale"
    assert "vector" not in stale
    assert (await client.get("/notes/a1")).json()["version"] == 5


async def test_strict_refuses_what_would_be_cut_and_stores_nothing(client: httpx.AsyncClient) -> None:
    response = await client.post("/notes/embed", json={"notes": NOTES, "strict": True})
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "notes[2].content"
    assert response.json()["errors"][0]["rule"] == "too_many_tokens"
    assert (await client.get("/model")).json()["notes"] == 0


async def test_a_stored_note_can_be_read(client: httpx.AsyncClient) -> None:
    vector = (await embed(client, NOTES[:1]))[0]["vector"]
    note = (await client.get("/notes/a1")).json()
    assert note["hashtags"] == ["coffee", "coldbrew"]
    assert note["created_at"] == "2026-01-01T00:00:00Z"
    assert note["content_hash"] == Note.model_validate(NOTES[0]).content_hash
    assert "vector" not in note
    np.testing.assert_allclose((await client.get("/notes/a1?vector=true")).json()["vector"], vector, atol=1e-6)


async def test_neighbours_leave_the_note_out_and_are_ordered(client: httpx.AsyncClient) -> None:
    vectors = {note["id"]: np.array(note["vector"]) for note in await embed(client, NOTES)}
    found = await neighbours(client, "/notes/a1/similar")
    expected = sorted(
        ((note_id, float(v @ vectors["a1"])) for note_id, v in vectors.items() if note_id != "a1"), key=lambda n: -n[1]
    )
    assert [note["id"] for note in found] == [note_id for note_id, _ in expected]
    np.testing.assert_allclose([note["score"] for note in found], [score for _, score in expected], atol=1e-5)


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({"category": "coffee"}, {"a2"}),
        ({"hashtag": "#COFFEE"}, {"a2"}),
        ({"created_after": "2026-01-15T00:00:00+00:00"}, {"a2"}),
        ({"min_score": 1}, set()),
        ({"limit": 1}, None),
        ({"offset": 3}, set()),
    ],
)
async def test_neighbours_can_be_filtered(query: Json, ids: set[str] | None, client: httpx.AsyncClient) -> None:
    await embed(client, NOTES)
    found = await neighbours(client, "/notes/a1/similar", **query)
    if ids is None:
        assert len(found) == 1
    else:
        assert {note["id"] for note in found} == ids


async def test_neighbours_of_a_note_that_is_not_stored(client: httpx.AsyncClient) -> None:
    await embed(client, NOTES)
    text = {name: NOTES[0][name] for name in ("title", "content", "hashtags")}
    response = await client.post("/notes/similar", json={"note": text, "limit": 2})
    found = response.json()["neighbours"]
    assert found[0]["id"] == "a1"
    assert found[0]["score"] == pytest.approx(1, abs=1e-5)
    assert len(found) == 2


async def test_neighbours_of_a_history_are_those_of_its_mean(client: httpx.AsyncClient) -> None:
    vectors = {note["id"]: np.array(note["vector"]) for note in await embed(client, NOTES)}
    body = {"ids": ["a1", "a2"], "exclude": ["zh"]}
    found = (await client.post("/notes/similar", json=body)).json()["neighbours"]
    mean = vectors["a1"] + vectors["a2"]
    assert [note["id"] for note in found] == ["b1"]
    assert found[0]["score"] == pytest.approx(float(mean @ vectors["b1"] / np.linalg.norm(mean)), abs=1e-5)


async def test_hashtags_and_category(client: httpx.AsyncClient) -> None:
    notes = [{name: note[name] for name in ("title", "content", "hashtags") if name in note} for note in NOTES]
    answer = (await client.post("/notes/hashtags", json={"notes": notes, "count": 3})).json()
    assert len(answer["notes"]) == len(notes)
    for note in answer["notes"]:
        assert len(note["hashtags"]) <= 3
        assert note["category"]["category"] in {"beer", "coffee", "quantum computing"}
        assert 0 < note["category"]["confidence"] <= 1
    alone = (await client.post("/notes/hashtags", json={"notes": notes[2:3], "count": 3})).json()["notes"][0]
    assert alone["hashtags"] == [
        {**tag, "confidence": pytest.approx(tag["confidence"], abs=1e-4)} for tag in answer["notes"][2]["hashtags"]
    ]
    assert alone["category"]["category"] == answer["notes"][2]["category"]["category"]
    without = (await client.post("/notes/hashtags", json={"notes": notes[:1], "category": False})).json()["notes"][0]
    assert "category" not in without


async def test_a_forgotten_note_is_gone(client: httpx.AsyncClient) -> None:
    await embed(client, NOTES)
    assert (await client.delete("/notes/a1")).status_code == 204
    answer = await client.delete("/notes/a1")
    assert (answer.status_code, answer.json()["detail"]) == (404, "not stored: a1, so there is nothing to delete")
    assert "a1" not in {note["id"] for note in await neighbours(client, "/notes/a2/similar")}


async def test_the_openai_client_works(client: httpx.AsyncClient) -> None:
    import openai

    speaking = openai.AsyncOpenAI(api_key="unused", base_url="http://test/v1", http_client=client, max_retries=0)  # type: ignore[arg-type]
    texts = ["Cold brew tastes sour", "Noisy qubits"]
    answer = await speaking.embeddings.create(input=texts, model="tiny")
    ours = await embed(client, [{"id": f"n{i}", "content": text} for i, text in enumerate(texts)], store=False)
    np.testing.assert_allclose([item.embedding for item in answer.data], [note["vector"] for note in ours], atol=1e-6)
    assert answer.usage.total_tokens == sum(note["tokens"] for note in ours)
    single = await speaking.embeddings.create(input=texts[0], model="tiny", encoding_format="float", dimensions=48)
    np.testing.assert_allclose(single.data[0].embedding, ours[0]["vector"], atol=1e-6)
    with pytest.raises(openai.UnprocessableEntityError, match="tiny is served"):
        await speaking.embeddings.create(input=texts, model="other")
    with pytest.raises(openai.UnprocessableEntityError, match="48 dimensions"):
        await speaking.embeddings.create(input=texts, model="tiny", dimensions=47)


async def test_a_write_that_was_overtaken_is_stale(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 5 arrives while version 4 is being embedded."""
    original = LocalEngine.embed
    overtaking: list[Any] = []

    def slow(self: LocalEngine, prompts: Any) -> Any:
        if not overtaking:
            overtaking.append(True)
            newer = Note.model_validate(NOTES[0] | {"version": 5, "title": "five"})
            point = IndexedNote(newer.payload(), original(self, prompts)[0])
            asyncio.run_coroutine_threadsafe(index.upsert([point]), loop).result()
        return original(self, prompts)

    loop = asyncio.get_running_loop()
    index = client._transport.app.state.runtime.index  # type: ignore[attr-defined]
    monkeypatch.setattr(LocalEngine, "embed", slow)
    late = (await embed(client, [NOTES[0] | {"version": 4}]))[0]
    assert late["status"] == "stale"
    assert "vector" not in late
    assert (await client.get("/notes/a1")).json()["title"] == "five"


async def test_thousands_of_inline_hashtags_count_as_a_hundred(client: httpx.AsyncClient) -> None:
    crowded = {"id": "c", "content": " ".join(f"#tag{number}" for number in range(5000))}
    assert (await embed(client, [crowded]))[0]["status"] == "stored"
    assert len((await client.get("/notes/c")).json()["hashtags"]) == 100
    assert (await embed(client, [crowded]))[0]["status"] == "unchanged"
