"""Hashtags that stored notes have can be suggested, soon after they come into use and until they fall out of it."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import httpx
import pytest

from notellm.hashtag_use import HashtagUse
from service.errors import IndexUnavailable
from service.index import EdgeIndex, HashtagCounts
from service.notes import LiveHashtags
from service.observability import Metrics
from tests.clock import until
from tests.service.index.backends import DIMENSIONS, indexed
from tests.service.notes.tagging import KNOWN, Open


@pytest.fixture
def counting(opened: Open) -> Open:
    """Opens a service that counts every second, and gives a client of it."""
    return partial(opened, hashtag_refresh_seconds=1, hashtag_min_uses=2)


async def suggested(client: httpx.AsyncClient) -> set[str]:
    """Everything that may be suggested."""
    body = {"notes": [{"title": "Cold brew"}], "count": 10, "category": False}
    response = await client.post("/notes/hashtags", json=body)
    assert response.status_code == 200, response.text
    return {tag["hashtag"] for tag in response.json()["notes"][0]["hashtags"]}


async def soon(client: httpx.AsyncClient, wanted: set[str]) -> None:
    """Waits until exactly these may be suggested."""
    last: set[str] = set()
    for _ in range(600):
        if (last := await suggested(client)) == wanted:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{last} instead of {wanted}")


async def store(client: httpx.AsyncClient, tags: dict[str, list[str]]) -> None:
    """Stores notes, by id, with these hashtags."""
    notes = [{"id": note, "title": note, "hashtags": own} for note, own in tags.items()]
    response = await client.post("/notes/embed", json={"notes": notes, "vectors": False})
    assert response.status_code == 200, response.text


async def test_a_new_hashtag_comes_with_its_uses_and_goes_with_them(counting: Open) -> None:
    async with counting() as client:
        assert await suggested(client) == set(KNOWN)
        await store(client, {"a": ["espresso martini"], "b": ["once"], "c": ["Espresso Martini"]})
        await soon(client, {*KNOWN, "Espresso Martini"})
        await store(client, {"d": ["espresso martini"]})
        await soon(client, {*KNOWN, "espresso martini"})  # the most used spelling of both
        for note in ("a", "c", "d"):
            assert (await client.delete(f"/notes/{note}")).is_success
        await soon(client, set(KNOWN))


async def test_known_hashtags_are_shown_as_stored_notes_spell_them(counting: Open) -> None:
    async with counting() as client:
        await store(client, {"a": ["kinggLORY", "COFFEE"], "b": ["KINGGLORY", "Coffee"], "c": ["KINGGLORY", "beer"]})
        await soon(client, {"KINGGLORY", "COFFEE", "cold-brew", "beer", "hops"})


async def test_they_are_there_after_a_restart(counting: Open) -> None:
    async with counting() as client:
        await store(client, {"a": ["ristretto"], "b": ["ristretto"]})
    async with counting(hashtag_refresh_seconds=86_400) as client:
        assert await suggested(client) == {*KNOWN, "ristretto"}


async def test_rules_hold_for_them(counting: Open, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked.txt"
    blocked.write_text("RISTRETTO\n", encoding="utf-8")
    async with counting(hashtag_blocklist=blocked) as client:
        tags = ["ristretto", "x" * 41, "2024", "lungo", "</s>", "[EMB]"]
        await store(client, {"a": tags, "b": tags})
        await soon(client, {*KNOWN, "lungo", "</s>", "[EMB]"})  # text that spells a control token is text


async def test_only_as_many_as_the_operator_allows(counting: Open) -> None:
    async with counting(hashtag_vocabulary=2) as client:
        await store(
            client,
            {f"n{number}": ["often", "sometimes"][: 1 + number % 2] for number in range(6)} | {"z": ["rare"], "y": ["rare"]},
        )
        await soon(client, {*KNOWN[:2], "often", "sometimes"})


@pytest.fixture
def edge(tmp_path: Path) -> EdgeIndex:
    return EdgeIndex.open(tmp_path / "index", vector_name="m-1", dimensions=DIMENSIONS)


async def test_a_failing_index_leaves_the_last_count_and_is_counted(edge: EdgeIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, told = Metrics(), list[HashtagUse]()
    await edge.upsert([indexed(number) for number in range(4)])
    async with LiveHashtags.open(edge, most=10, every_seconds=0.01, metrics=metrics) as live, live.followed_by(told.append):
        assert (live.use.notes, dict(live.use.counts)) == (4, {"kingglory": 2, "other": 2})

        async def failing(limit: int, **_options: object) -> HashtagCounts:
            raise IndexUnavailable("as the test wants it")

        monkeypatch.setattr(edge, "hashtags", failing)
        errors = metrics.index_errors.labels("hashtags")._value
        await until(lambda: errors.get() >= 2)
        assert told == [live.use]
        monkeypatch.undo()
        await edge.upsert([indexed(4)])
        await until(lambda: live.use.notes == 5)
        await until(lambda: told[-1] == live.use)
    seen = len(told)
    await edge.upsert([indexed(5)])
    await asyncio.sleep(0.05)
    assert len(told) == seen  # nobody counts any more
    await edge.close()


async def test_recent_notes_are_counted_by_themselves(edge: EdgeIndex) -> None:
    now = datetime.now(UTC)
    ages = [timedelta(hours=1), timedelta(days=6), timedelta(days=8), None]
    made = [(now - age).isoformat() if age is not None else None for age in ages]
    await edge.upsert([indexed(number, hashtags=["tea"], created_at=time) for number, time in enumerate(made)])
    week = timedelta(days=7)
    async with LiveHashtags.open(edge, most=10, recent=week, every_seconds=3600, metrics=Metrics()) as live:
        assert live.use.notes == 4
        assert live.use.recent == HashtagUse(2, {"tea": 2}, {"tea": "tea"})
    async with LiveHashtags.open(edge, most=10, every_seconds=3600, metrics=Metrics()) as live:
        assert live.use.recent is None
    await edge.close()


async def test_where_only_recent_notes_cannot_be_counted_all_others_are(
    edge: EdgeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = edge.hashtags

    async def failing(limit: int, *, created_after: datetime | None = None) -> HashtagCounts:
        if created_after is not None:
            raise IndexUnavailable("as the test wants it")
        return await count(limit)

    await edge.upsert([indexed(0, hashtags=["tea"], created_at=datetime.now(UTC).isoformat())])
    day = timedelta(days=1)
    async with LiveHashtags.open(edge, most=10, recent=day, every_seconds=3600, metrics=Metrics()) as live:
        before = live.use.recent
        assert before is not None
        monkeypatch.setattr(edge, "hashtags", failing)
        await edge.upsert([indexed(1, hashtags=["tea"])])
        await live.refresh()
        assert (live.use.notes, live.use.recent) == (2, before)
    await edge.close()
