"""What routes and the framework raise becomes a problem document."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from service.errors import QueueFull
from service.http.error_handlers import MAX_ERRORS, handle_errors
from tests.service.calls import on_shared_loop
from tests.service.security.keyed import problem


class Words(BaseModel):
    model_config = ConfigDict(extra="forbid")

    words: list[int]


@pytest.fixture
async def small() -> AsyncIterator[httpx.AsyncClient]:
    """An application of its own, whose routes raise what the path says."""
    app = FastAPI(openapi_url=None)
    handle_errors(app)

    @app.get("/full")
    async def full() -> None:
        raise QueueFull("too much", retry_after=7)

    @app.get("/status/{status}")
    async def status(status: int) -> None:
        raise HTTPException(status, "as the test wants it", {"X-Told": "yes"})

    @app.post("/words")
    async def words(body: Words) -> int:
        return len(body.words)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


async def test_an_error_of_the_service_keeps_its_headers(small: httpx.AsyncClient) -> None:
    answer = await small.get("/full")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json() == {
        "type": "urn:notellm:problem:queue-full", "title": "Too much work is waiting", "status": 429, "detail": "too much",
        "errors": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "kind", "detail"),
    [
        (400, "unreadable-body", "the body cannot be read as JSON in UTF-8"),
        (404, "not-found", "as the test wants it"),
        (406, "not-acceptable", "as the test wants it"),
        (413, "body-too-large", "as the test wants it"),
    ],
)
async def test_an_error_of_the_framework_gets_a_type(small: httpx.AsyncClient, status: int, kind: str, detail: str) -> None:
    answer = await small.get(f"/status/{status}")
    assert answer.status_code == answer.json()["status"] == status
    assert (answer.json()["type"], answer.json()["detail"]) == (f"urn:notellm:problem:{kind}", detail)
    # The framework's own headers are kept where the error stays its own.
    assert ("X-Told" in answer.headers) == (status in {404, 406})


async def test_broken_rules_are_named_up_to_a_number(small: httpx.AsyncClient) -> None:
    answer = await small.post("/words", json={"words": ["x"] * 100})
    errors = answer.json()["errors"]
    assert (answer.status_code, len(errors)) == (422, MAX_ERRORS)
    assert [error["field"] for error in errors[:2]] == ["words[0]", "words[1]"]
    assert answer.json()["detail"].count("words[") == 3


async def test_a_name_that_the_client_chose_comes_back_cut(small: httpx.AsyncClient) -> None:
    answer = await small.post("/words", json={"words": [], "w" * 400: 1})
    assert [error["field"] for error in answer.json()["errors"]] == ["w" * 300]


async def test_under_v1_the_field_and_the_rule_are_where_openai_has_them(small: httpx.AsyncClient) -> None:
    answer = await small.get("/v1/nothing")
    error = answer.json()["error"]
    assert error == {"message": "Not Found", "type": "urn:notellm:problem:not-found", "param": None, "code": None}


@on_shared_loop
async def test_paths_and_methods_that_do_not_exist(shared: httpx.AsyncClient) -> None:
    missing, wrong = await shared.get("/nope"), await shared.put("/notes/embed")
    assert (missing.status_code, problem(missing)) == (404, "not-found")
    assert (wrong.status_code, problem(wrong), wrong.headers["Allow"]) == (405, "method-not-allowed", "DELETE, GET, HEAD, POST")


@on_shared_loop
@pytest.mark.parametrize("header", [{}, {"Content-Type": "application/x-www-form-urlencoded"}])
async def test_a_body_that_does_not_say_that_it_is_json(header: dict[str, str], shared: httpx.AsyncClient) -> None:
    answer = await shared.post("/notes/embed", content=b'{"notes": []}', headers=header)
    assert (answer.status_code, problem(answer)) == (400, "unreadable-body")
    assert "Content-Type: application/json" in answer.json()["detail"]
