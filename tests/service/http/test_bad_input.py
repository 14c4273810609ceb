"""Every kind of wrong input gets its 4xx, which names the field and the rule; the index stays as it was."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
import pytest_asyncio

from service.http.app import create_app
from service.serving import Runtime
from service.settings import Settings
from tests.service.calls import on_shared_loop

GOOD = {"id": "good", "title": "Cold brew"}
EMBED, SIMILAR, HASHTAGS, OPENAI = "/notes/embed", "/notes/similar", "/notes/hashtags", "/v1/embeddings"


def embed_one(**fields: object) -> dict[str, Any]:
    return {"notes": [{"id": "x", "title": "t", **fields}]}


CASES: list[tuple[str, Any, int, str, str]] = [
    (EMBED, {"notes": [{"id": "x"}]}, 422, "notes[0]", "value_error"),
    (EMBED, {"notes": [{"id": "x", "title": " \u200b"}]}, 422, "notes[0]", "value_error"),
    (EMBED, embed_one(title="x" * 2**20), 422, "notes[0].title", "string_too_long"),
    (EMBED, embed_one(hashtags=[f"t{n}" for n in range(10_000)]), 422, "notes[0].hashtags", "too_long"),
    (EMBED, embed_one(title=1), 422, "notes[0].title", "string_type"),
    (EMBED, embed_one(title=None), 422, "notes[0].title", "string_type"),
    (EMBED, embed_one(hashtags="coffee"), 422, "notes[0].hashtags", "tuple_type"),
    (EMBED, embed_one(colour="red"), 422, "notes[0].colour", "extra_forbidden"),
    (EMBED, embed_one(id=17), 422, "notes[0].id", "string_type"),
    (EMBED, embed_one(id="a b"), 422, "notes[0].id", "string_pattern_mismatch"),
    (EMBED, embed_one(created_at="yesterday"), 422, "notes[0].created_at", "datetime_parsing"),
    (EMBED, embed_one(created_at="2026-01-01T00:00:00"), 422, "notes[0].created_at", "timezone_aware"),
    (EMBED, embed_one(version="1"), 422, "notes[0].version", "int_type"),
    (EMBED, {"notes": [{"id": f"n{n}", "title": "t"} for n in range(257)]}, 422, "notes", "too_long"),
    (EMBED, {"notes": [GOOD, GOOD]}, 422, "notes[1].id", "unique"),
    (EMBED, {"notes": []}, 422, "notes", "too_short"),
    (EMBED, {"notes": {}}, 422, "notes", "list_type"),
    (EMBED, {}, 422, "notes", "missing"),
    (EMBED, [], 422, "body", "model_attributes_type"),
    (EMBED, None, 422, "body", "missing"),
    (EMBED, {**embed_one(), "store": "yes"}, 422, "store", "bool_type"),
    (EMBED, {**embed_one(), "encoding_format": "hex"}, 422, "encoding_format", "literal_error"),
    (EMBED, {**embed_one(), "unknown": 1}, 422, "unknown", "extra_forbidden"),
    (SIMILAR, {}, 422, "body", "value_error"),
    (SIMILAR, {"ids": ["good"], "note": {"title": "t"}}, 422, "body", "value_error"),
    (SIMILAR, {"ids": []}, 422, "ids", "too_short"),
    (SIMILAR, {"ids": ["good"], "limit": 0}, 422, "limit", "greater_than_equal"),
    (SIMILAR, {"ids": ["good"], "diversity": 1.01}, 422, "diversity", "less_than_equal"),
    (SIMILAR, {"ids": ["good"], "skip_missing": "yes"}, 422, "skip_missing", "bool_type"),
    (SIMILAR, {"ids": ["good"], "hashtag": "#"}, 422, "hashtag", "empty_hashtag"),
    (HASHTAGS, {"notes": [{"title": "t"}], "count": 11}, 422, "count", "less_than_equal"),
    (HASHTAGS, {"notes": [{"title": "t"}], "count": 2.5}, 422, "count", "int_type"),
    (HASHTAGS, {"notes": [{"title": "t"}] * 33}, 422, "notes", "too_long"),
    (HASHTAGS, {"notes": [{"title": "t", "id": "x"}]}, 422, "notes[0].id", "extra_forbidden"),
    (OPENAI, {"input": ""}, 422, "input[0]", "empty"),
    (OPENAI, {"input": " "}, 422, "input[0]", "empty"),
    (OPENAI, {"input": [[1, 2, 3]]}, 422, "input", "value_error"),
    (OPENAI, {"input": "x" * 50_001}, 422, "input[0]", "string_too_long"),
]


@pytest_asyncio.fixture(loop_scope="module")
async def filled(shared: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """A service that holds one note, and must still hold just that afterwards."""
    assert (await shared.post(EMBED, json={"notes": [GOOD]})).status_code == 200
    before = (await shared.get("/notes/good?vector=true")).json()
    yield shared
    assert (await shared.get("/model")).json()["notes"] == 1
    assert (await shared.get("/notes/good?vector=true")).json() == before
    assert (await shared.get("/health/ready")).status_code == 200


def assert_problem(response: httpx.Response, status: int, field: str | None = None, rule: str | None = None) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == status
    assert body["type"].startswith("urn:notellm:problem:")
    assert body["request_id"] == response.headers["X-Request-Id"]
    if field:
        assert (field, rule) in {(error["field"], error["rule"]) for error in body["errors"]}, body["errors"]
        assert len(response.content) < 20_000


@on_shared_loop
@pytest.mark.parametrize(("path", "body", "status", "field", "rule"), CASES)
async def test_bodies(path: str, body: Any, status: int, field: str, rule: str, filled: httpx.AsyncClient) -> None:
    answer = await filled.post(path, json=body)
    assert_problem(answer, status, field, rule)
    assert "tuple" not in answer.json()["detail"], "JSON has none"


@on_shared_loop
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe{}", b'{"notes": [{"id": "x", "title": "\xff"}]}', b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}", b"null",
     b'{"notes": [{"id": "x", "title": "\\ud800"}]}', b'{"\\ud800": 1}', b'{"notes": NaN}', b'{"notes": 1e999}'],
)  # fmt: skip
@pytest.mark.parametrize("path", [EMBED, SIMILAR, HASHTAGS, OPENAI])
async def test_bytes_that_are_no_request(content: bytes, path: str, filled: httpx.AsyncClient) -> None:
    response = await filled.post(path, content=content, headers={"Content-Type": "application/json"})
    assert response.status_code in {400, 422}
    assert_problem(response, response.status_code)


@on_shared_loop
@pytest.mark.parametrize(
    ("query", "field", "rule"),
    [
        ("limit=-1", "query.limit", "greater_than_equal"),
        ("limit=101", "query.limit", "less_than_equal"),
        ("limit=many", "query.limit", "int_parsing"),
        ("offset=-1", "query.offset", "greater_than_equal"),
        ("min_score=2", "query.min_score", "less_than_equal"),
        ("diversity=-0.1", "query.diversity", "greater_than_equal"),
        ("diversity=nan", "query.diversity", "less_than_equal"),
        ("min_score=nan", "query.min_score", "less_than_equal"),
        ("created_after=never", "query.created_after", "datetime_parsing"),
        ("hashtag=%23", "query.hashtag", "empty_hashtag"),
        ("colour=red", "query.colour", "extra_forbidden"),
    ],
)
async def test_queries(query: str, field: str, rule: str, filled: httpx.AsyncClient) -> None:
    assert_problem(await filled.get(f"/notes/good/similar?{query}"), 422, field, rule)


@on_shared_loop
async def test_unknown_ids(filled: httpx.AsyncClient) -> None:
    for response in (
        await filled.get("/notes/unknown"),
        await filled.get("/notes/unknown/similar"),
        await filled.delete("/notes/unknown"),
        await filled.post(SIMILAR, json={"ids": ["good", "unknown"]}),
    ):
        assert_problem(response, 404)
        assert response.json()["detail"].startswith("not stored: unknown")


@on_shared_loop
@pytest.mark.parametrize("bad", ["%00", "a%20b", "%F0%9F%8D%BA", "x" * 129, ".x"])
async def test_ids_that_no_note_can_have(bad: str, filled: httpx.AsyncClient) -> None:
    assert_problem(await filled.get(f"/notes/{bad}"), 422, "path.note_id", "string_pattern_mismatch")


@pytest.fixture
async def small(runtime: Runtime, settings_for: Callable[..., Settings]) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(runtime, settings_for(max_body_bytes=1024, max_notes_per_request=2)))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def test_a_lower_limit_of_notes(small: httpx.AsyncClient) -> None:
    three = {"notes": [{"id": f"n{n}", "title": "t"} for n in range(3)]}
    assert_problem(await small.post(EMBED, json=three), 422, "notes", "too_long")
    assert_problem(await small.post(OPENAI, json={"input": ["a", "b", "c"]}), 422, "input", "too_long")
