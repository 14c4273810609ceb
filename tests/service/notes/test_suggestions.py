"""Hashtags out of a checkpoint's vocabulary, over HTTP."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from notellm import Checkpoint, NoteEncoder, NoteText, PromptSettings
from notellm.note import hashtag_key
from service.engines import LocalEngine
from tests.conftest import CATEGORIES
from tests.service.notes.tagging import KNOWN, Open, make_knowing, tagged

NOTES: list[dict[str, Any]] = [
    {"title": "Cold brew tastes sour", "content": "Grind finer?", "hashtags": ["coffee", "#kingglory"]},
    {"title": "Noisy qubits", "content": "#beer"},
    {"title": "周末在家做冷萃咖啡"},
]


async def hashtags(client: httpx.AsyncClient, notes: list[dict[str, Any]], **options: object) -> list[list[dict[str, Any]]]:
    return [note["hashtags"] for note in await tagged(client, notes, **options)]


async def test_the_likeliest_of_the_vocabulary_that_a_note_does_not_have(opened: Open, knowing: Checkpoint) -> None:
    assert knowing.manifest.hashtag_vocabulary == tuple(KNOWN)
    async with opened() as client:
        suggested = await hashtags(client, NOTES, count=10)
        for note, tags in zip(NOTES, suggested, strict=True):
            own = {hashtag_key(str(tag)) for tag in note.get("hashtags", [])} | ({"beer"} if "#beer" in str(note) else set())
            assert {tag["hashtag"] for tag in tags} == {tag for tag in KNOWN if hashtag_key(tag) not in own}
            confidences = [tag["confidence"] for tag in tags]
            assert confidences == sorted(confidences, reverse=True)
            assert sum(confidences) <= 1
        first_two = await hashtags(client, NOTES, count=2, category=False)
        assert [[tag["hashtag"] for tag in tags] for tags in first_two] == [
            [tag["hashtag"] for tag in tags[:2]] for tags in suggested
        ]


async def test_the_most_frequent_of_the_vocabulary(opened: Open) -> None:
    async with opened(hashtag_vocabulary=2) as client:
        (tags,) = await hashtags(client, NOTES[1:2], count=10)
        assert {tag["hashtag"] for tag in tags} == set(KNOWN[:2])


async def test_blocked_hashtags_are_never_suggested(opened: Open, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked.txt"
    blocked.write_text("#COLD BREW\n\n  kingglory \n!!\n", encoding="utf-8")
    async with opened(hashtag_blocklist=blocked) as client:
        (tags,) = await hashtags(client, NOTES[2:], count=10)
        assert {tag["hashtag"] for tag in tags} == {"coffee", "beer", "hops"}
        (best, *_) = tags
    blocked.write_text(best["hashtag"].upper(), encoding="utf-8")
    async with opened(hashtag_blocklist=blocked) as client:
        (first,) = await hashtags(client, NOTES[2:], count=1)
        assert [tag["hashtag"] for tag in first] != [best["hashtag"]]
        assert len(first) == 1  # the next best takes its place


async def test_where_all_are_blocked_none_is_suggested(opened: Open, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked.txt"
    blocked.write_text("\n".join(KNOWN), encoding="utf-8")
    async with opened(hashtag_blocklist=blocked) as client:
        response = await client.post("/notes/hashtags", json={"notes": NOTES})
        assert [note["hashtags"] for note in response.json()["notes"]] == [[]] * len(NOTES)
        assert all(note["category"] for note in response.json()["notes"])


async def test_written_hashtags_are_blocked_too(opened: Open, tmp_path: Path) -> None:
    notes = [{"title": f"note {number}"} for number in range(10)]
    async with opened(hashtag_vocabulary=0) as client:
        before = await hashtags(client, notes, count=5)
    worst = next(tags[0]["hashtag"] for tags in before if tags)
    blocked = tmp_path / "blocked.txt"
    blocked.write_text(worst, encoding="utf-8")
    async with opened(hashtag_vocabulary=0, hashtag_blocklist=blocked) as client:
        after = await hashtags(client, notes, count=5)
    assert after == [[tag for tag in tags if tag["hashtag"] != worst] for tags in before] != before


async def test_what_is_too_unlikely_is_not_suggested_and_none_is_an_answer(opened: Open) -> None:
    async with opened() as client:
        (tags,) = await hashtags(client, NOTES[2:], count=10)
    least = tags[2]["confidence"]
    async with opened(hashtag_min_confidence=least) as client:
        (some,) = await hashtags(client, NOTES[2:], count=10)
    assert some == tags[:3]
    async with opened(hashtag_min_confidence=1.0) as client:
        assert await hashtags(client, NOTES[2:], count=10) == [[]]


async def test_without_a_vocabulary_the_model_writes(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    generate = LocalEngine.generate

    def counting(self: LocalEngine, requests: Any) -> Any:
        written.append(len(requests))
        return generate(self, requests)

    def forbidden(self: LocalEngine, requests: Any) -> Any:
        raise AssertionError("nothing is to be ranked")

    monkeypatch.setattr(LocalEngine, "generate", counting)
    monkeypatch.setattr(LocalEngine, "rank", forbidden)
    async with opened(hashtag_vocabulary=0) as client:
        assert len(await hashtags(client, NOTES, category=False)) == len(NOTES)
    assert sum(written) == len(NOTES)


async def test_a_failed_ranking_is_an_error_of_its_request_alone(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    rank = LocalEngine.rank

    def choking(self: LocalEngine, requests: Any) -> Any:
        if any(request.count == 7 for request in requests):
            raise FloatingPointError("not finite")
        return rank(self, requests)

    monkeypatch.setattr(LocalEngine, "rank", choking)
    async with opened() as client:
        poison = client.post("/notes/hashtags", json={"notes": NOTES, "count": 7})
        healthy = client.post("/notes/hashtags", json={"notes": NOTES, "count": 2})
        failed, answered = await asyncio.gather(poison, healthy)
        assert failed.status_code == 500
        assert failed.json()["type"].endswith("model-failed")
        assert answered.status_code == 200
        assert (await client.get("/health/live")).status_code == 200


@pytest.mark.parametrize("vocabulary", [0, 100], ids=["written", "ranked"])
async def test_a_checkpoint_of_the_shared_prompt_is_served(
    opened: Open, tmp_path: Path, tiny_base: Path, vocabulary: int
) -> None:
    checkpoint = make_knowing(tmp_path / "shared", tiny_base, PromptSettings(version="shared-en"))
    prompt = checkpoint.prompt()
    tokenized = prompt.tokenize([NoteText.model_validate(note) for note in NOTES])
    embeddings = [prompt.embedding(note) for note in tokenized]
    expected = NoteEncoder(checkpoint.load_model(), prompt.embedding_prefix).encode(embeddings)
    async with opened(checkpoint=checkpoint.path, hashtag_vocabulary=vocabulary) as client:
        assert (await client.get("/model")).json()["prompt"]["version"] == "shared-en"
        notes = [{"id": f"n{number}"} | note for number, note in enumerate(NOTES)]
        embedded = (await client.post("/notes/embed", json={"notes": notes})).json()["notes"]
        suggested = (await client.post("/notes/hashtags", json={"notes": NOTES, "count": 3})).json()["notes"]
    np.testing.assert_allclose([note["vector"] for note in embedded], expected, atol=1e-5)
    # Written hashtags are asked for three at a time, ranked ones for one.
    asked = [prompt.hashtags(note, 1 if vocabulary else 3) for note in tokenized]
    assert [note["tokens"] for note in suggested] == list(map(len, asked))
    for note, answer in zip(NOTES, suggested, strict=True):
        assert answer["category"]["category"] in CATEGORIES
        tags = {tag["hashtag"] for tag in answer["hashtags"]}
        assert len(tags) == 3 if vocabulary else len(tags) <= 3
        assert not {hashtag_key(tag) for tag in tags} & {hashtag_key(tag) for tag in note.get("hashtags", [])}
