"""Health, metrics, logs, failures, start and stop."""

import io
import json
import logging
import re
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient

from harness.processes import ROOT
from service.engines import LocalEngine
from service.errors import IndexUnavailable
from service.http.app import create_app
from service.index import EdgeIndex, ServerIndex
from service.observability import Metrics, configure_logging
from service.observability.metrics import INDEX_OPERATIONS
from service.serving import open_service
from service.settings import Settings
from tests.service.calls import NOTES, embed
from tests.service.index.backends import LOCAL_MODE


async def test_operations(client: httpx.AsyncClient) -> None:
    await embed(client, NOTES)
    await client.get("/notes/a1/similar")
    assert (await client.get("/health/live")).json() == {"status": "ok"}
    assert (await client.get("/health/ready")).json() == {"status": "ok"}
    model = (await client.get("/model")).json()
    assert (model["name"], model["notes"], model["engine"], model["index"]) == ("tiny", 4, "local", "qdrant-edge")
    metrics = (await client.get("/metrics")).text
    for line in (
        'notellm_http_requests_total{method="POST",route="/notes/embed",status="200"} 1.0',
        'notellm_http_request_seconds_count{method="GET",route="/notes/{note_id}/similar"} 1.0',
        'notellm_notes_total{status="stored"} 4.0',
        'notellm_truncations_total{field="content"} 1.0',
        'notellm_batch_notes_sum{queue="embed"} 4.0',
        'notellm_queue_seconds_count{queue="embed"} 4.0',
        'notellm_index_seconds_count{operation="upsert"} 1.0',
        'notellm_index_seconds_count{operation="search"} 1.0',
        'notellm_queue_tokens{queue="embed"} 0.0',
    ):
        assert line in metrics
    assert "notellm_batch_tokens_bucket" in metrics
    assert 'notellm_model_info{engine="local"' in metrics


async def test_logs_are_json_and_hold_neither_text_nor_keys(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        configure_logging("INFO", "json")
        root.handlers[0].stream = stream  # type: ignore[attr-defined]
        secret = {"Authorization": "Bearer s3cret", "X-Request-Id": "r1"}
        await client.post("/notes/embed", json={"notes": [{"id": "p1", "title": "private words"}]}, headers=secret)
        await client.get("/notes/p1?vector=true", headers=secret)
        await client.post(
            "/notes/embed", json={"notes": [{"id": "p2", "title": 1, "content": "private words"}]}, headers=secret
        )
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {(line["route"], line["status"], line["request_id"]) for line in lines if line["logger"] == "service.access"} == {
        ("/notes/embed", 200, "r1"), ("/notes/{note_id}", 200, "r1"), ("/notes/embed", 422, "r1"),
    }  # fmt: skip
    for forbidden in ("private", "s3cret", "p1"):
        assert forbidden not in stream.getvalue()


async def test_an_index_that_fails_is_a_503_and_not_ready(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.observability.readiness.FRESH_SECONDS", 0)

    async def broken(*_: object, **__: object) -> None:
        raise IndexUnavailable("the disk is full")

    await embed(client, NOTES[:1])
    with monkeypatch.context() as patch:
        for name in ("upsert", "search", "count"):
            patch.setattr(EdgeIndex, name, broken)
        response = await client.post("/notes/embed", json={"notes": NOTES[1:2]})
        assert (response.status_code, response.json()["type"]) == (503, "urn:notellm:problem:index-unavailable")
        assert (await client.get("/notes/a1/similar")).status_code == 503
        patch.setattr(EdgeIndex, "get", broken)
        assert (await client.get("/health/ready")).status_code == 503
        assert (await client.get("/health/live")).status_code == 200
    assert (await client.get("/health/ready")).status_code == 200
    assert (await client.get("/notes/a2")).status_code == 404


async def test_a_failing_model_is_a_500_for_that_request_only(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = LocalEngine.embed

    def choking(self: LocalEngine, prompts: Any) -> Any:
        if any(len(prompt) > 100 for prompt in prompts):
            raise RuntimeError("choked")
        return original(self, prompts)

    monkeypatch.setattr(LocalEngine, "embed", choking)
    bad = await client.post("/notes/embed", json={"notes": [NOTES[2]]})
    assert (bad.status_code, bad.json()["type"]) == (500, "urn:notellm:problem:model-failed")
    assert (await embed(client, NOTES[:1]))[0]["status"] == "stored"
    assert (await client.get("/health/live")).status_code == 200


async def test_vectors_that_are_not_finite_are_not_stored(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    await embed(client, NOTES[:1])
    with monkeypatch.context() as patch:
        patch.setattr(LocalEngine, "embed", lambda _, prompts: np.full((len(prompts), 48), np.nan, dtype=np.float32))
        response = await client.post("/notes/embed", json={"notes": [NOTES[0] | {"title": "new"}]})
    assert response.json()["type"] == "urn:notellm:problem:model-failed"
    assert (await client.get("/notes/a1")).json()["title"] == NOTES[0]["title"]


@LOCAL_MODE
async def test_an_embedded_index_that_is_too_large_is_told(
    settings_for: Callable[..., Settings], caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_for(embedded_index_notes=3)
    async with open_service(settings) as running:
        transport = httpx.ASGITransport(create_app(running, settings))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            await embed(client, NOTES[:3])
            assert "warning" not in (await client.get("/model")).json()
            await embed(client, NOTES[3:])
            assert "holds 4 notes, more than NOTELLM_EMBEDDED_INDEX_NOTES=3" in (await client.get("/model")).json()["warning"]
            assert "set NOTELLM_QDRANT_URL" not in caplog.text
            for _ in range(2):
                assert (await client.get("/health/ready")).json() == {"status": "ok"}, "how many there are is not for strangers"
            assert caplog.text.count("set NOTELLM_QDRANT_URL") == 1
    caplog.clear()
    async with open_service(settings) as running:
        assert "set NOTELLM_QDRANT_URL" in caplog.text
        await running.readiness.failure()
        assert caplog.text.count("set NOTELLM_QDRANT_URL") == 1
    server = await ServerIndex.open(AsyncQdrantClient(":memory:"), collection="notes", vector_name="m", dimensions=4)
    assert server.size_warning(4, 3) is None


def test_every_operation_on_the_index_begins_at_0_and_is_told() -> None:
    counted = {
        call
        for file in (ROOT / "service").rglob("*.py")
        for call in re.findall(r"\.index_operation\((.*)\):$", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert counted == {f'"{operation}"' for operation in INDEX_OPERATIONS}
    (row,) = re.findall(
        r"^\| `notellm_index_seconds` .*", (ROOT / "docs" / "operations.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert tuple(re.findall(r"`(\w+)`", row.rpartition("time of")[2])) == INDEX_OPERATIONS
    registry = Metrics().registry
    for operation in INDEX_OPERATIONS:
        for name in ("notellm_index_errors_total", "notellm_index_seconds_count"):
            assert registry.get_sample_value(name, {"operation": operation}) == 0
