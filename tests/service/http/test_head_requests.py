"""HEAD is GET without the body: the same status, the same headers, the same keys, on every path."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from service.http import create_app
from service.http.head_requests import HeadRequests
from service.notes import NoteService
from service.serving import Runtime
from service.settings import Settings
from tests.service.calls import NOTES, embed
from tests.service.security.keyed import KEYS, asking, bearer, write_keys

# Of each template, a path that is there.
PATHS = {
    "/notes/{note_id}/similar": "/notes/a1/similar?limit=2",
    "/notes/{note_id}": "/notes/a1?vector=true",
    "/v1/models/{model}": "/v1/models/tiny",
    "/docs/{name}": "/docs/swagger-ui.css",
}
CHANGING = {"x-request-id", "content-length"}  # the length of /metrics changes with the numbers in it


async def same(client: httpx.AsyncClient, path: str, **headers: str) -> httpx.Response:
    """Asks both ways and compares; returns the answer to HEAD."""
    full, head = await client.get(path, headers=headers), await client.head(path, headers=headers)
    assert head.status_code == full.status_code, path
    assert head.content == b"", path
    assert full.content or full.is_redirect, path
    left_out = CHANGING if path == "/metrics" else {"x-request-id"}
    assert {name: value for name, value in head.headers.items() if name not in left_out} == {
        name: value for name, value in full.headers.items() if name not in left_out
    }, path
    return head


async def test_head_is_answered_wherever_get_is(
    client: httpx.AsyncClient, runtime: Runtime, settings_for: Callable[..., Settings]
) -> None:
    await embed(client, NOTES)
    routes = create_app(runtime, settings_for()).routes
    templates = {route.path_format for route in routes if "GET" in route.methods}  # type: ignore[attr-defined]
    assert templates >= {"/", "/docs", "/openapi.json", "/metrics", "/health/live", "/health/ready", "/model", *PATHS}
    for template in templates:
        head = await same(client, PATHS.get(template, template))
        assert head.status_code in {200, 307, 409}, template  # 409: the overlap of a migration that does not run


async def test_errors_are_the_same_too(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise KeyError("a defect")

    for path, status in (("/notes/absent", 404), ("/nope", 404), ("/notes/a1/similar?limit=0", 422), ("/notes/similar/x", 404)):
        assert (await same(client, path)).status_code == status
    assert (await same(client, "/v1/embeddings")).headers["Allow"] == "POST"
    monkeypatch.setattr(NoteService, "get", broken)
    assert (await same(client, "/notes/a1")).status_code == 500


async def test_head_needs_the_key_that_get_needs(settings_for: Callable[..., Settings], tmp_path: Path) -> None:
    async with asking(settings_for(api_keys_file=write_keys(tmp_path / "keys.toml"))) as client:
        for path in ("/model", "/notes/a1", "/metrics", "/admin/notes", "/nope"):
            assert (await same(client, path)).status_code == 401
            for scope in KEYS:
                await same(client, path, **bearer(scope))
        metrics = (await client.get("/metrics", headers=bearer("metrics"))).text
    for method in ("GET", "HEAD"):
        for route, status in (("/model", 401), ("/model", 403), ("/notes/{note_id}", 404)):
            assert f'notellm_http_requests_total{{method="{method}",route="{route}",status="{status}"}}' in metrics


async def test_head_is_not_described_twice(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert {method for item in paths.values() for method in item} == {"get", "post", "delete"}


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/model", "GET, HEAD"), ("/notes/a1", "DELETE, GET, HEAD"), ("/notes/embed", "DELETE, GET, HEAD, POST"),
     ("/v1/embeddings", "POST"), ("/docs", "GET, HEAD"), ("/admin/notes", "GET, HEAD, POST")],
)  # fmt: skip
async def test_a_405_lists_the_methods_of_the_path(path: str, allowed: str, client: httpx.AsyncClient) -> None:
    refused = await client.put(path)
    assert (refused.status_code, refused.headers["Allow"]) == (405, allowed)


async def test_a_body_in_pieces_is_left_out() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["method"] == "GET"
        scope["route"] = "found"
        await StreamingResponse(piece async for piece in pieces())(scope, receive, send)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"piece"

    seen: list[Scope] = []

    async def outside(scope: Scope, receive: Receive, send: Send) -> None:
        await HeadRequests(app)(scope, receive, send)
        seen.append(scope)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(outside), base_url="http://test") as client:
        assert (await client.head("/x")).content == b""
    assert (seen[0]["method"], seen[0]["route"]) == ("HEAD", "found")
