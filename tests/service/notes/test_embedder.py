"""`POST /notes/embed` with `suggest`: vector, hashtags and category of a note in one request."""

from typing import Any

import httpx
import numpy as np
import pytest

from notellm import Checkpoint
from service.engines import LocalEngine
from service.errors import ModelFailed, QueueFull
from service.notes import suggestions
from service.queueing import Batcher
from tests.service.calls import Json, embed
from tests.service.notes.tagging import ASKED, STORED, Open, tagged

NEW: list[Json] = [ASKED | {"id": "new"}, {"id": "brew", "title": "Cold brew tastes sour", "hashtags": ["Coffee"]}]
TEXTS = [{key: value for key, value in note.items() if key != "id"} for note in NEW]


@pytest.fixture(autouse=True)
def few_notes_vote(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suggestions, "LEAST_STORED", 1)


def vectors(notes: list[Json]) -> Any:
    return np.array([note["vector"] for note in notes])


async def read(client: httpx.AsyncClient, note: str) -> Json:
    response = await client.get(f"/notes/{note}")
    return response.json() if response.status_code == 200 else {"status": response.status_code}


@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("category", [True, False])
@pytest.mark.parametrize("vocabulary", [10, 0])
async def test_one_request_gives_what_two_give(
    store: bool, category: bool, vocabulary: int, weighed: Open
) -> None:  # fmt: skip
    async with weighed(STORED, hashtag_vocabulary=vocabulary) as client:
        apart = await embed(client, NEW, store=False)
        suggested = await tagged(client, TEXTS, count=3, category=category)
        together = await embed(client, NEW, store=store, suggest={"count": 3, "category": category})
        assert vectors(together) == pytest.approx(vectors(apart), abs=1e-5)
        for one, two, tags in zip(together, apart, suggested, strict=True):
            assert (one["tokens"], one["truncated"]) == (two["tokens"], two["truncated"])
            assert one["status"] == ("stored" if store else "embedded")
            same(one["suggestions"], tags)
        found = await read(client, "brew")
        assert found.get("hashtags") == (["Coffee"] if store else None)  # a suggestion is not stored


def sources(answer: Json) -> dict[str, list[str]]:
    """Who brings each hashtag."""
    return {tag["hashtag"]: tag["sources"] for tag in answer["hashtags"]}


def same(one: Json, other: Json) -> None:
    """The same suggestions, but for rounding."""
    assert list(sources(one).items()) == list(sources(other).items())
    told = [[tag["confidence"] for tag in answer["hashtags"]] for answer in (one, other)]
    assert told[0] == pytest.approx(told[1], abs=1e-5)
    assert one.get("category", {}).get("category") == other.get("category", {}).get("category")
    assert (one["tokens"], one["truncated"]) == (other["tokens"], other["truncated"])


async def test_the_model_reads_a_note_once(weighed: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    async with weighed(STORED) as client:

        def never(*_arguments: object) -> Any:
            raise AssertionError("the vector comes with the category")

        monkeypatch.setattr(LocalEngine, "embed", never)
        assert [note["status"] for note in await embed(client, NEW, suggest={})] == ["stored", "stored"]


async def test_unchanged_and_stale_notes_get_suggestions_too(weighed: Open) -> None:
    async with weighed(STORED) as client:
        note = NEW[0] | {"version": 2}
        (first,), (again,) = await embed(client, [note], suggest={}), await embed(client, [note], suggest={})
        assert (again["status"], again["tokens"], again["vector"]) == ("unchanged", 0, first["vector"])
        same(again["suggestions"], first["suggestions"])
        (stale,) = await embed(client, [note | {"version": 1}], suggest={})
        assert stale["status"] == "stale"
        assert "vector" not in stale
        same(stale["suggestions"], first["suggestions"])


async def test_what_is_stored_under_its_id_has_no_vote_for_a_note(weighed: Open) -> None:
    own = {"id": "new", "title": "Noisy qubits", "hashtags": ["spam"]}
    async with weighed([*STORED, own]) as client:
        (asked,) = await tagged(client, TEXTS[:1], count=10)
        assert "neighbours" in sources(asked)["spam"]
        for store in (False, True):
            (changed,) = await embed(client, [NEW[0]], suggest={"count": 10}, store=store)
            assert changed["status"] == ("stored" if store else "embedded")
            told = sources(changed["suggestions"])
            assert "neighbours" in told["qubits"]
            assert told["spam"] == ["model"]


@pytest.mark.parametrize("failure", [QueueFull("full", retry_after=1), ModelFailed("as the test wants it")])
async def test_nothing_is_stored_before_the_suggestions_are_known(
    failure: Exception, weighed: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with weighed(STORED) as client:
        with monkeypatch.context() as broken:

            async def failing(*_arguments: object) -> Any:
                raise failure

            broken.setattr(Batcher, "submit", failing)
            response = await client.post("/notes/embed", json={"notes": NEW, "suggest": {}})
            assert response.status_code in {429, 500, 503}, response.text
        assert [await read(client, note["id"]) for note in NEW] == [{"status": 404}] * 2
        assert (await read(client, "a"))["hashtags"] == ["qubits", "physics"]


async def test_a_broken_vector_is_not_stored(weighed: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    async with weighed(STORED) as client:
        rank = LocalEngine.rank

        def broken(self: LocalEngine, requests: Any) -> Any:
            ranked = rank(self, requests)
            for one in ranked:
                if one.vector is not None:
                    one.vector[0] = np.nan
            return ranked

        monkeypatch.setattr(LocalEngine, "rank", broken)
        response = await client.post("/notes/embed", json={"notes": NEW, "suggest": {}})
        assert (response.status_code, "not finite" in response.json()["detail"]) == (500, True)
        assert await read(client, "new") == {"status": 404}


async def test_a_checkpoint_that_lists_nothing(opened: Open, tiny: Checkpoint) -> None:
    async with opened(checkpoint=tiny.path, hashtag_vocabulary=0) as client:
        apart = await embed(client, NEW, store=False)
        together = await embed(client, NEW, suggest={"category": False})
        assert vectors(together) == pytest.approx(vectors(apart), abs=1e-5)


@pytest.mark.parametrize(
    ("body", "field", "rule"),
    [
        ({"notes": NEW, "suggest": {"count": 0}}, "suggest.count", "greater_than_equal"),
        ({"notes": NEW, "suggest": {"count": 11}}, "suggest.count", "less_than_equal"),
        ({"notes": NEW, "suggest": {"count": "3"}}, "suggest.count", "int_type"),
        ({"notes": NEW, "suggest": {"counts": 3}}, "suggest.counts", "extra_forbidden"),
        ({"notes": NEW, "suggest": True}, "suggest", "model_attributes_type"),
        ({"notes": [{"id": f"n{n}", "title": "t"} for n in range(5)], "suggest": {}}, "notes", "too_long"),
        ({"notes": [NEW[0], NEW[0]], "suggest": {}}, "notes[1].id", "unique"),
        ({"notes": [NEW[0] | {"title": "t " * 500}], "suggest": {}, "strict": True}, "notes[0].title", "too_many_tokens"),
    ],
)
async def test_a_wrong_wish_is_refused(
    body: Json, field: str, rule: str, weighed: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with weighed(max_hashtag_notes_per_request=4) as client:

        async def never(*_arguments: object) -> Any:
            raise AssertionError("the model was asked")

        monkeypatch.setattr(Batcher, "submit", never)
        response = await client.post("/notes/embed", json=body)
        assert response.status_code == 422, response.text
        errors = [(error["field"], error["rule"]) for error in response.json()["errors"]]
        assert errors == [(field, rule)]
        assert await read(client, "new") == {"status": 404}
