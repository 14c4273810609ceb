"""Traces: a request is one tree under its caller's span, a batch links to all requests that it serves, and no span holds text of a note."""

import asyncio
import io
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.engines import LocalEngine
from service.observability.logs import configure_logging
from service.observability.spans import Tracing
from service.serving import Runtime, open_service
from service.settings import Settings
from tests.clock import LoopTime, until
from tests.otlp import CALLER, TRACES, Seen, named, tree, under
from tests.service.calls import NOTES
from tests.service.gate import Gate
from tests.service.http.test_secrecy import MARKS, every_call, failing_calls
from tests.service.security.keyed import speaking_to, write_keys

NOTE = {"notes": [{"id": "n0", "title": "one"}], "store": False}
QUEUED = ("queue embed", ["wait", "forward"])


class Recorder(InMemorySpanExporter):
    """Keeps the spans that have ended."""

    def seen(self) -> list[Seen]:
        return [Seen.recorded(span) for span in self.get_finished_spans()]

    def of(self, trace: str) -> list[Seen]:
        return [span for span in self.seen() if span.trace == trace]


@pytest.fixture
def spans() -> Recorder:
    return Recorder()


@pytest.fixture
async def http(runtime: Runtime, settings_for: Callable[..., Settings], spans: Recorder) -> AsyncIterator[httpx.AsyncClient]:
    tracing = Tracing(SimpleSpanProcessor(spans))
    async with speaking_to(runtime, settings_for(), tracing=tracing) as speaking:
        yield speaking


async def test_a_request_is_one_tree_under_its_caller(http: httpx.AsyncClient, spans: Recorder) -> None:
    assert (await http.post("/notes/embed", json={"notes": NOTES}, headers=under(TRACES[0]))).status_code == 200
    seen = spans.of(TRACES[0])
    request = named(seen, "POST /notes/embed")
    assert request.parent == CALLER
    assert request.facts == {"http.request.method": "POST", "http.route": "/notes/embed", "http.response.status_code": 200}
    assert tree(seen, request) == ("POST /notes/embed", ["index get", "tokenize", QUEUED, "index upsert"])
    assert all(request.start <= span.start <= span.end <= request.end for span in seen)
    assert not any(span.failed for span in seen)

    queued, forward, batch = named(seen, "queue embed"), named(seen, "forward"), named(spans.seen(), "batch embed")
    assert queued.facts["notellm.notes"] == batch.facts["notellm.notes"] == forward.facts["notellm.notes"] == len(NOTES)
    assert queued.facts["notellm.tokens"] == batch.facts["notellm.tokens"] > 0
    assert batch.trace != TRACES[0]
    assert batch.links == {(queued.trace, queued.id)}
    assert forward.links == {(batch.trace, batch.id)}


async def test_every_kind_of_work_is_traced(http: httpx.AsyncClient, spans: Recorder) -> None:
    await http.post("/notes/embed", json={"notes": NOTES})
    calls = [
        http.get("/notes/a1/similar", headers=under(TRACES[0])),
        http.post("/notes/hashtags", json={"notes": [{"title": "one"}]}, headers=under(TRACES[1])),
        http.request("DELETE", "/notes/a1", headers=under(TRACES[2])),
    ]
    assert [(await call).status_code for call in calls] == [200, 200, 204]
    similar, hashtags, delete = ([span.name for span in spans.of(trace)] for trace in TRACES)
    assert similar == ["index get", "index search", "GET /notes/{note_id}/similar"]
    # The hashtags are written and the category is ranked at the same time, so that either may be first.
    assert (hashtags[0], hashtags[-1]) == ("tokenize", "POST /notes/hashtags")
    assert sorted(hashtags[1:-1]) == sorted(["wait", "forward", "queue rank", "wait", "forward", "queue generate"])
    assert delete == ["index delete", "DELETE /notes/{note_id}"]


def value(runtime: Runtime, name: str) -> float:
    """Of a metric of the queue of texts to embed."""
    return runtime.metrics.registry.get_sample_value(name, {"queue": "embed"}) or 0.0


async def pause() -> range:
    """Lets a moment pass: from when to when, by the clock of spans."""
    start = time.time_ns()
    await asyncio.sleep(0.01)
    return range(start, time.time_ns())


async def test_requests_that_share_a_batch_are_linked_to_it(
    gate: Gate, runtime: Runtime, http: httpx.AsyncClient, spans: Recorder
) -> None:
    def embed(trace: str) -> "asyncio.Task[httpx.Response]":
        return asyncio.create_task(http.post("/notes/embed", json=NOTE, headers=under(trace)))

    running = embed(TRACES[0])
    await gate.wait_until_entered()
    tokens = value(runtime, "notellm_batch_tokens_sum")
    sharing = [embed(trace) for trace in TRACES[1:]]
    await until(lambda: value(runtime, "notellm_queue_tokens") == 2 * tokens)
    waited = await pause()
    gate.open.set()
    assert [answer.status_code for answer in await asyncio.gather(running, *sharing)] == [200, 200, 200]
    assert gate.batches == [1, 2]
    first, shared = sorted((span for span in spans.seen() if span.name == "batch embed"), key=lambda span: span.start)
    queued = [named(spans.of(trace), "queue embed") for trace in TRACES]
    assert first.links == {(queued[0].trace, queued[0].id)}
    assert shared.links == {(span.trace, span.id) for span in queued[1:]}
    assert shared.facts["notellm.notes"] == 2
    for trace in TRACES[1:]:
        wait, forward = (named(spans.of(trace), name) for name in ("wait", "forward"))
        assert wait.end == forward.start == shared.start
        assert wait.start <= waited.start
        assert wait.end >= waited.stop
        assert forward.facts["notellm.notes"] == 1
        assert forward.links == {(shared.trace, shared.id)}


async def test_errors_are_told_by_their_kind(http: httpx.AsyncClient, spans: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Any:
        raise RuntimeError("private words")

    monkeypatch.setattr(LocalEngine, "embed", broken)
    assert (await http.post("/notes/embed", json=NOTE, headers=under(TRACES[0]))).status_code == 500
    assert (await http.get("/notes/none", headers=under(TRACES[1]))).status_code == 404
    failed = {span.name: span.facts["error.type"] for span in spans.of(TRACES[0]) if span.failed}
    assert failed == {"POST /notes/embed": "500", "queue embed": "ModelFailed", "forward": "RuntimeError"}
    assert named(spans.seen(), "batch embed").facts["error.type"] == "RuntimeError"
    missing = named(spans.of(TRACES[1]), "GET /notes/{note_id}")
    assert (missing.failed, missing.facts["http.response.status_code"]) == (False, 404)
    for span in spans.get_finished_spans():
        assert not span.events
        assert "private" not in span.to_json()


async def test_what_waited_for_nothing_is_seen(
    gate: Gate, runtime: Runtime, http: httpx.AsyncClient, spans: Recorder, loop_time: LoopTime
) -> None:
    running = asyncio.create_task(http.post("/notes/embed", json=NOTE, headers={"X-Request-Timeout": "3600"}))
    await gate.wait_until_entered()
    headers = {"X-Request-Timeout": "600", **under(TRACES[0])}
    late = asyncio.create_task(http.post("/notes/embed", json=NOTE, headers=headers))
    await until(lambda: value(runtime, "notellm_queue_tokens") > 0)
    waited = await pause()
    loop_time.advance(600)
    assert (await late).status_code == 504
    gate.open.set()
    await running
    seen = spans.of(TRACES[0])
    assert tree(seen, named(seen, "POST /notes/embed")) == ("POST /notes/embed", ["tokenize", "queue embed"])
    queued = named(seen, "queue embed")
    assert queued.facts["error.type"] == "CancelledError"
    assert queued.start <= waited.start
    assert queued.end >= waited.stop


async def test_neither_text_nor_ids_nor_keys_are_in_spans(
    settings_for: Callable[..., Settings], spans: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(api_keys_file=write_keys(tmp_path / "keys.toml"), max_body_bytes=4096)
    async with (
        open_service(settings) as runtime,
        speaking_to(runtime, settings, tracing=Tracing(SimpleSpanProcessor(spans))) as http,
    ):
        await every_call(http)
        await failing_calls(http, monkeypatch)
    told = [span.to_json() for span in spans.get_finished_spans()]
    assert {span.name for span in spans.seen()} >= {"GET /notes/{note_id}", "DELETE /notes/{note_id}", "index upsert"}
    assert {span.facts.get("http.response.status_code") for span in spans.seen()} >= {200, 401, 403, 404, 413, 422, 500, 503}
    for mark in MARKS:
        assert not [text for text in told if mark in text]


@pytest.mark.parametrize(
    ("sampler", "sampled", "recorded"),
    [("parentbased_always_on", False, False), ("parentbased_always_off", True, True), ("parentbased_always_off", None, False),
     ("always_off", True, False), ("always_on", False, True)],
)  # fmt: skip
async def test_the_sampler_decides_for_a_request_and_its_batch(
    runtime: Runtime, settings_for: Callable[..., Settings], spans: Recorder, monkeypatch: pytest.MonkeyPatch,
    sampler: str, sampled: bool | None, recorded: bool,
) -> None:  # fmt: skip
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    async with speaking_to(runtime, settings_for(), tracing=Tracing(SimpleSpanProcessor(spans))) as http:
        headers = {} if sampled is None else under(TRACES[0], sampled=sampled)
        assert (await http.post("/notes/embed", json=NOTE, headers=headers)).status_code == 200
    names = {"POST /notes/embed", "tokenize", "queue embed", "wait", "forward", "batch embed"}
    assert {span.name for span in spans.seen()} == (names if recorded else set())


async def test_probes_are_not_traced(http: httpx.AsyncClient, spans: Recorder) -> None:
    for path in ("/health/live", "/health/ready", "/metrics"):
        assert (await http.get(path, headers=under(TRACES[0]))).status_code == 200
    assert not spans.seen()


async def test_wrong_headers_begin_a_trace(http: httpx.AsyncClient, spans: Recorder) -> None:
    for header in ("", "00-" + "0" * 32 + f"-{CALLER}-01", f"ff-{TRACES[0]}-{CALLER}-01", "x" * 1000, f"00-{TRACES[0]}-\xff"):
        headers = [(b"traceparent", header.encode("latin-1")), (b"tracestate", b"=,\xff")]
        assert (await http.get("/model", headers=headers)).status_code == 200
    requests = [span for span in spans.seen() if span.name == "GET /model"]
    assert len(requests) == 5
    assert {span.parent for span in requests} == {""}


async def test_the_log_has_the_trace(http: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    stream, root = io.StringIO(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        configure_logging("DEBUG", "json")
        root.handlers[0].stream = stream  # type: ignore[attr-defined]
        await http.get("/model", headers=under(TRACES[0], sampled=False))
        await http.get("/model", headers={**under(TRACES[1]), "tracestate": "private words"})
        await http.get("/model", headers={"traceparent": "private words"})
        await client.get("/model", headers=under(TRACES[2]))
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    traced, stateless, begun, untraced = [line for line in lines if line["logger"] == "service.access"]
    assert (traced["trace_id"], stateless["trace_id"]) == (TRACES[0], TRACES[1])
    assert len(begun["trace_id"]) == 32
    assert "trace_id" not in untraced
    assert "private" not in stream.getvalue()
