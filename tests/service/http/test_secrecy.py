"""Marked text, ids and keys go through every call and every kind of error, and turn up in neither logs nor metrics."""

import asyncio
import gc
import io
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from notellm.errors import NoteError
from service.engines import LocalEngine
from service.errors import IndexUnavailable
from service.index import EdgeIndex, IndexedNote
from service.index.server.calls import ServerCalls
from service.notes import SuggestionPrompts
from service.observability import configure_logging
from service.observability.tracebacks import format_exception
from service.security import Scope
from service.settings import Settings
from tests.service.http.test_auth import CALLS
from tests.service.security.keyed import asking, bearer, write_keys

TEXT, ID = "zanzibar-private-words", "zanzibar-id"
MARKS = ("zanzibar", "marked-key", "marked-wrong")
NOTE = {"id": ID, "title": TEXT, "content": f"{TEXT} #{TEXT}", "hashtags": [TEXT], "category": TEXT}
JSON = {"Content-Type": "application/json"}
NETWORK = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
WRONG = [
    b"{" + TEXT.encode(), b'{"notes": [{"id": "' + TEXT.encode() + b'"', f'"{TEXT}"'.encode(), b"\xff" + TEXT.encode(), b"[" * 10_000,
    json.dumps({TEXT: TEXT}).encode(), json.dumps({"notes": TEXT, "input": [[TEXT]], "ids": TEXT}).encode(), b"x" * 5000,
    json.dumps({"notes": [NOTE | {"title": [TEXT], TEXT: 1, "created_at": TEXT, "version": TEXT}]}).encode(),
    json.dumps({"notes": [NOTE, NOTE]}).encode(), json.dumps({"ids": [f"{ID}-x"]}).encode(),
    json.dumps({"ids": [ID], "hashtag": "#", "category": TEXT}).encode(),
    json.dumps({"model": TEXT, "input": TEXT, "encoding_format": TEXT}).encode(), json.dumps({"input": ""}).encode(),
]  # fmt: skip


@pytest.fixture(params=["json", "text"])
def log(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """Everything that is logged, at the lowest level."""
    stream, root = io.StringIO(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        configure_logging("DEBUG", request.param)
        root.handlers[0].stream = stream  # type: ignore[attr-defined]
        yield stream
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


async def every_call(client: httpx.AsyncClient) -> list[httpx.Response]:
    answers = []
    for method, path, body, needed in CALLS:
        marked = json.loads(json.dumps(body).replace("cold brew", TEXT).replace("n1", ID)) if body else None
        for headers in (
            bearer(needed) if needed else {}, {"Authorization": "Bearer marked-wrong"}, {"X-API-Key": "marked-wrong"},
            bearer("admin"), {"Authorization": f"marked-wrong {TEXT}"},
        ):  # fmt: skip
            place = path.replace("n1", ID)
            answers.append(await client.request(method, place, json=marked, headers=headers, params={"q": TEXT}))
            if needed and headers == bearer(needed) and method == "POST":
                answers += [await client.post(path, content=wrong, headers=headers | JSON) for wrong in WRONG]
    return answers


async def every_admin_call(client: httpx.AsyncClient) -> list[httpx.Response]:
    async def ask(method: str, path: str, **what: Any) -> httpx.Response:
        return await client.request(method, f"/admin{path}", headers=bearer("admin") | JSON, **what)

    await client.post("/notes/embed", json={"notes": [NOTE]}, headers=bearer("write"))
    page = (await ask("GET", "/notes")).json()
    backup = {"vector_name": page["vector_name"], "notes": page["notes"]}
    changed = {"vector_name": page["vector_name"], "notes": [one | {"content_hash": TEXT} for one in page["notes"]]}
    answers = [
        await ask("GET", "/notes", params={"start": TEXT, "limit": TEXT}), await ask("POST", "/notes", json=backup),
        await ask("POST", "/notes", json=changed), await ask("POST", "/notes", json=backup | {"vector_name": TEXT}),
        await ask("GET", "/migration"), await ask("GET", "/migration/overlap", params={"sample": TEXT}),
    ]  # fmt: skip
    for path in (
        "/notes",
        "/notes/deleted",
        "/migration",
        "/migration/switch",
        "/migration/rollback",
        "/migration/finish",
        "/migration/cancel",
    ):
        answers += [await ask("POST", path, content=wrong) for wrong in WRONG]
    return answers


def quoting(*_: object, **__: object) -> Any:
    raise ValueError(f"cannot read {TEXT}")


async def failing_calls(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> list[httpx.Response]:
    """Errors that should not happen, each of which quotes a note."""
    answers = [await client.post("/notes/embed", json={"notes": [NOTE]}, headers=bearer("write"))]
    assert answers[0].status_code == 200

    async def gone(*_: object, **__: object) -> Any:
        raise IndexUnavailable("the index is gone") from KeyError(TEXT)

    async def bent(*_: object, **__: object) -> Any:
        return {ID: IndexedNote({"id": ID, "title": [TEXT], "content": {TEXT: TEXT}}, None)}

    async def ask(method: str, path: str, scope: str, body: Any = None) -> None:
        answers.append(await client.request(method, path, json=body, headers=bearer(scope)))

    with monkeypatch.context() as patch:
        patch.setattr(LocalEngine, "embed", quoting)
        await ask("POST", "/v1/embeddings", "read", {"input": [TEXT, TEXT]})
        patch.setattr(SuggestionPrompts, "ask", quoting)
        await ask("POST", "/notes/hashtags", "read", {"notes": [{"title": TEXT}]})
        patch.setattr(EdgeIndex, "get", gone)
        await ask("GET", f"/notes/{ID}", "read")
        patch.setattr(EdgeIndex, "get", bent)
        await ask("GET", f"/notes/{ID}", "read")
        await ask("DELETE", f"/notes/{ID}", "write")
        await ask("POST", "/notes/embed", "write", {"notes": [NOTE]})
        for name in ("scroll", "describe"):
            patch.setattr(EdgeIndex, name, quoting)
        await ask("GET", "/admin/notes", "admin")
        await ask("POST", "/admin/migration", "admin", {"checkpoint": "/nowhere"})
    return answers


async def test_neither_logs_nor_metrics_tell(
    log: io.StringIO, settings_for: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(
        api_keys_file=write_keys(tmp_path / "keys.toml"), max_body_bytes=4096, tokens_per_second=1e6, requests_per_second=1e5
    )
    async with asking(settings) as client:
        answers = [*await every_call(client), *await every_admin_call(client)]
        failures = await failing_calls(client, monkeypatch)
        metrics = await client.get("/metrics", headers=bearer("metrics"))
    statuses = {answer.status_code for answer in answers}
    assert {200, 204, 400, 401, 403, 404, 409, 413, 422} <= statuses
    assert max(statuses) < 500
    assert {answer.status_code for answer in failures} >= {200, 500, 503}
    told = log.getvalue()
    assert "Traceback" in told
    assert "builtins.ValueError" in told
    assert "pydantic" in told, "the case of a stored note that cannot be shown is not reached"
    assert 'status="500"' in metrics.text
    for mark in MARKS:
        assert mark not in told
        assert mark not in metrics.text


async def test_what_asyncio_says_of_lost_errors_does_not_tell(log: io.StringIO) -> None:
    async def fails() -> None:
        raise ValueError(TEXT)

    loop = asyncio.get_running_loop()
    lost, unasked = asyncio.create_task(fails()), loop.create_future()
    unasked.set_exception(KeyError(TEXT))
    loop.call_soon(quoting, ID)
    await asyncio.wait({lost})
    del lost, unasked
    gc.collect()
    told = log.getvalue()
    for kind in ("Task exception was never retrieved", "Future exception was never retrieved", "Exception in callback quoting"):
        assert kind in told
    assert told.count("Traceback") == 3
    assert not any(mark in told for mark in MARKS)


@pytest.mark.parametrize("code", grpc.StatusCode)
async def test_what_a_qdrant_server_quotes_is_not_logged(code: grpc.StatusCode, log: io.StringIO) -> None:
    async def refused() -> None:
        metadata = grpc.aio.Metadata()
        said = f'Wrong input: cannot read the value "{TEXT}" of {ID}'
        raise grpc.aio.AioRpcError(code, metadata, metadata, "connection refused" if code in NETWORK else said)

    with pytest.raises(IndexUnavailable) as caught:
        await ServerCalls(1).once(refused)
    logging.getLogger("test").error("unexpected", exc_info=caught.value)
    told = log.getvalue()
    assert not any(mark in told for mark in MARKS)
    assert code.name in told
    if told.startswith("{"):
        assert ("connection refused" if code in NETWORK else "Wrong input") in told


async def test_the_log_says_whose_key_it_was(log: io.StringIO, settings_for: Callable[..., Settings], tmp_path: Path) -> None:
    async with asking(settings_for(api_keys_file=write_keys(tmp_path / "keys.toml"))) as client:
        await client.get("/model", headers=bearer(Scope.READ))
    lines = [line for line in log.getvalue().splitlines() if "service.access" in line]
    if lines[0].startswith("{"):
        assert [json.loads(line)["client"] for line in lines] == ["read"]


def test_tracebacks_keep_what_is_harmless() -> None:
    def fail(error: Exception, cause: Exception | None = None) -> Exception:
        try:
            raise error from cause  # noqa: TRY301
        except Exception as caught:
            return caught

    assert "OSError: [Errno 28] No space left" in format_exception(fail(OSError(28, "No space left")))
    both = format_exception(fail(RuntimeError("CUDA out of memory"), fail(ValueError(TEXT))))
    assert "CUDA out of memory" in both
    assert "which led to" in both
    assert "in fail" in both
    assert TEXT not in both
    assert TEXT not in format_exception(fail(NoteError(TEXT))), "pydantic gives them what was sent"
    told = format_exception(fail(ExceptionGroup(TEXT, [fail(ValueError(TEXT)), fail(OSError("a disk"))])))
    assert TEXT not in told
    assert "a disk" in told


def test_a_chain_that_bites_its_tail_ends() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__context__, second.__context__ = second, first
    assert format_exception(first).count("ValueError") == 2
