"""A defect is a 500 with the request's id, and the log has its cause."""

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from service.http.unexpected_errors import UnexpectedErrors
from service.index import EdgeIndex


async def test_an_unexpected_error_keeps_its_request_id(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise KeyError("surprise")

    monkeypatch.setattr(EdgeIndex, "get", broken)
    response = await client.get("/notes/a1", headers={"X-Request-Id": "r7"})
    assert (response.status_code, response.json()["type"]) == (500, "urn:notellm:problem:unexpected")
    assert response.json()["request_id"] == response.headers["X-Request-Id"] == "r7"
    assert response.headers["content-type"] == "application/problem+json"
    metrics = (await client.get("/metrics")).text
    assert 'notellm_http_requests_total{method="GET",route="/notes/{note_id}",status="500"} 1.0' in metrics


@pytest.mark.parametrize("begun", [False, True])
async def test_an_answer_that_has_begun_is_not_begun_again(begun: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise KeyError("surprise")

    transport = httpx.ASGITransport(UnexpectedErrors(app))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        if begun:
            with pytest.raises(KeyError):
                await client.get("/")
        else:
            assert (await client.get("/")).status_code == 500
    assert [record.getMessage() for record in caplog.records if record.exc_info] == ["unexpected error"]
