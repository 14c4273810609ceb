"""Every request has an id, which its answer names."""

import httpx
import pytest
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from service.http.request_context import API_VERSION, RequestContext
from service.observability import request_id


async def test_request_ids(client: httpx.AsyncClient) -> None:
    given = await client.get("/health/live", headers={"X-Request-Id": "abc-123"})
    assert given.headers["X-Request-Id"] == "abc-123"
    replaced = await client.get("/notes/zz", headers={"X-Request-Id": "bad id\twith spaces"})
    assert replaced.headers["X-Request-Id"] == replaced.json()["request_id"] != "bad id\twith spaces"


@pytest.mark.parametrize(
    ("given", "kept"), [("a" * 64, True), ("A.b_c-9", True), ("a" * 65, False), ("", False), ("a b", False), ("é", False)]
)
async def test_only_a_well_formed_id_is_kept(given: str, kept: bool) -> None:
    seen: list[str | None] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(request_id.get())
        await JSONResponse(None)(scope, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(RequestContext(app)), base_url="http://test") as client:
        answer = await client.get("/", headers=[(b"x-request-id", given.encode())])
    assert answer.headers["API-Version"] == API_VERSION
    assert [answer.headers["X-Request-Id"]] == seen
    assert (seen == [given]) == kept
    assert request_id.get() is None
