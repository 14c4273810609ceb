"""Readiness: how often the index is asked, what callers are told, and what is logged."""

import asyncio
import logging
from typing import Any

import httpx
import pytest

from service.errors import IndexUnavailable
from service.index import EdgeIndex
from service.observability import readiness
from service.observability.readiness import INDEX_FAILS, Readiness

LIBRARY = "Service internal error: /data/index/shard/segments/1: 4711 points"


class Counted:
    """A stand-in for an index that counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = True

    async def count(self) -> int:
        self.asked += 1
        await asyncio.sleep(0.01)
        if not self.answers:
            raise IndexUnavailable(LIBRARY)
        return self.asked


async def test_many_probes_are_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "FRESH_SECONDS", 3600)
    index = Counted()
    ready = Readiness(index.count, lambda _: None)
    assert await asyncio.gather(*(ready.failure() for _ in range(50))) == [None] * 50
    await ready.failure()
    assert index.asked == 1
    monkeypatch.setattr(readiness, "FRESH_SECONDS", 0)
    later = Readiness(index.count, lambda _: None)
    await later.failure()
    await later.failure()
    assert index.asked == 3


async def test_the_log_has_the_reason_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(readiness, "FRESH_SECONDS", 0)
    index = Counted()
    ready = Readiness(index.count, lambda count: "too large" if count > 4 else None)
    told = []
    for answers in (True, False, False, True, True, True):
        index.answers = answers
        told.append(await ready.failure())
    assert told == [None, INDEX_FAILS, INDEX_FAILS, None, None, None]
    assert [record.getMessage() for record in caplog.records] == [
        f"not ready: {LIBRARY}", "ready again: the index answers", "too large",
    ]  # fmt: skip


async def test_strangers_are_not_told_what_the_library_says(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> Any:
        raise IndexUnavailable(f"the embedded index failed: {LIBRARY}")

    monkeypatch.setattr(EdgeIndex, "count", broken)
    answer = await client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json() == {"status": "failing", "detail": INDEX_FAILS}
