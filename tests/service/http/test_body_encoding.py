"""Packed bodies: on every call that has a body, within the limits, and refused by name where the service cannot unpack them."""

import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from harness.service import running_service
from service.http import create_app
from service.http.body_encoding import BodyEncoding
from service.http.body_limit import BodyLimit
from service.http.json_limits import JsonLimits
from service.serving import Runtime
from service.settings import MIB, Settings
from tests.service.calls import NOTES, on_shared_loop
from tests.service.security.keyed import asking, bearer, problem, write_keys

JSON = {"Content-Type": "application/json"}
BODY = json.dumps({"input": "grind finer?"}).encode()
POSTS = [
    "/notes/embed", "/notes/similar", "/notes/hashtags", "/v1/embeddings", "/admin/notes", "/admin/notes/deleted", "/admin/migration",
    *(f"/admin/migration/{change}" for change in ("switch", "rollback", "finish", "cancel")),
]  # fmt: skip


def encoding(*values: str) -> list[tuple[str, str]]:
    return [*JSON.items(), *(("Content-Encoding", value) for value in values)]


@on_shared_loop
@pytest.mark.parametrize("values", [["gzip"], ["x-gzip"], ["GZip"], ["identity, gzip"], ["gzip", "identity"], [" gzip ,"]])
async def test_gzip_is_unpacked(values: list[str], shared: httpx.AsyncClient) -> None:
    plain = await shared.post("/v1/embeddings", content=BODY, headers=JSON)
    for packed in (gzip.compress(BODY), gzip.compress(BODY[:9]) + gzip.compress(BODY[9:])):
        answer = await shared.post("/v1/embeddings", content=packed, headers=encoding(*values))
        assert answer.status_code == 200, answer.text
        assert answer.json() == plain.json()


@on_shared_loop
@pytest.mark.parametrize("values", [["identity"], [""], ["Identity, identity"], ["identity", ""]])
async def test_what_changes_nothing_is_accepted(values: list[str], shared: httpx.AsyncClient) -> None:
    assert (await shared.post("/v1/embeddings", content=BODY, headers=encoding(*values))).status_code == 200


@on_shared_loop
@pytest.mark.parametrize(
    ("values", "named"),
    [(["br"], "br"), (["zstd"], "zstd"), (["deflate"], "deflate"), (["compress"], "compress"), (["gzip, gzip"], "gzip, gzip"),
     (["gzip", "br"], "gzip, br"), (["BR"], "br"), (["aws-chunked"], "aws-chunked"), (["x" * 500], "x" * 100)],
)  # fmt: skip
async def test_any_other_encoding_is_named(values: list[str], named: str, shared: httpx.AsyncClient) -> None:
    refused = await shared.post("/v1/embeddings", content=BODY, headers=encoding(*values))
    assert (refused.status_code, problem(refused)) == (415, "unsupported-encoding")
    assert refused.json()["detail"].startswith(f"Content-Encoding: {named}: ")
    assert refused.headers["Accept-Encoding"] == "gzip"
    assert refused.json()["error"]["message"] == refused.json()["detail"]


@on_shared_loop
@pytest.mark.parametrize("path", POSTS)
async def test_every_call_with_a_body(path: str, shared: httpx.AsyncClient) -> None:
    posts = {path for path, item in (await shared.get("/openapi.json")).json()["paths"].items() if "post" in item}
    assert posts == set(POSTS)
    packed = await shared.post(path, content=gzip.compress(b"[]"), headers=encoding("gzip"))
    plain = await shared.post(path, content=b"[]", headers=JSON)
    assert {**packed.json(), "request_id": ""} == {**plain.json(), "request_id": ""}
    assert problem(await shared.post(path, content=b"[]", headers=encoding("br"))) == "unsupported-encoding"
    assert problem(await shared.post(path, content=gzip.compress(b"[]")[:-3], headers=encoding("gzip"))) == "unreadable-body"


@on_shared_loop
@pytest.mark.parametrize(
    ("body", "says"),
    [(gzip.compress(BODY)[:-1], "the gzip body ends too early"), (gzip.compress(BODY) + gzip.compress(BODY)[:9], "ends too early"),
     (BODY, "is not gzip"), (zlib.compress(BODY), "is not gzip"), (gzip.compress(BODY) + b"{}", "is not gzip")],
    ids=["cut off", "second member cut off", "JSON", "zlib", "JSON behind it"],
)  # fmt: skip
async def test_a_damaged_body_is_a_400_that_says_so(body: bytes, says: str, shared: httpx.AsyncClient) -> None:
    refused = await shared.post("/v1/embeddings", content=body, headers=encoding("gzip"))
    assert (refused.status_code, problem(refused)) == (400, "unreadable-body")
    assert says in refused.json()["detail"]


@on_shared_loop
async def test_no_body_needs_no_unpacking(shared: httpx.AsyncClient) -> None:
    empty = await shared.post("/v1/embeddings", content=b"", headers=encoding("gzip"))
    assert problem(empty) == "invalid-request"
    for method in ("GET", "HEAD", "OPTIONS"):
        answer = await shared.request(method, "/model", headers=encoding("br"))
        assert answer.status_code == (405 if method == "OPTIONS" else 200)


async def test_the_limits_hold_for_what_is_unpacked(runtime: Runtime, settings_for: Callable[..., Settings]) -> None:
    async def chunks(text: bytes, size: int) -> AsyncIterator[bytes]:
        for start in range(0, len(text), size):
            yield text[start : start + size]

    limit = 4096
    transport = httpx.ASGITransport(create_app(runtime, settings_for(max_body_bytes=limit)))
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=encoding("gzip")) as client:
        fits = BODY + b" " * (limit - len(BODY))
        assert (await client.post("/v1/embeddings", content=gzip.compress(fits))).status_code == 200
        assert (await client.post("/v1/embeddings", content=chunks(gzip.compress(fits), 10))).status_code == 200
        for refused in (
            await client.post("/v1/embeddings", content=gzip.compress(fits + b" ")),
            await client.post("/v1/embeddings", content=chunks(gzip.compress(fits + b" "), 10)),
            await client.post("/v1/embeddings", content=gzip.compress(bytes(100 * MIB))[:limit]),
            await client.post("/v1/embeddings", content=gzip.compress(BODY) + gzip.compress(b"") * 500),
            await client.post("/v1/embeddings", content=chunks(gzip.compress(BODY) + gzip.compress(b"") * 500, 100)),
        ):
            assert (refused.status_code, problem(refused)) == (413, "body-too-large")
        deep = await client.post("/v1/embeddings", content=gzip.compress(b"[" * 1000))
        assert deep.json()["errors"][0]["rule"] == "too_deep"


async def test_a_bomb_takes_no_more_memory_than_a_body_of_the_largest_size() -> None:
    """A hundred times the limit, which is unpacked no further than to the limit."""
    limit = MIB

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await JSONResponse(None)(scope, receive, send)

    async def peak(body: bytes, expected: int, **headers: str) -> int:
        tracemalloc.start()
        answer = await client.post("/x", content=body, headers=headers)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert answer.status_code == expected
        return used

    transport = httpx.ASGITransport(BodyEncoding(BodyLimit(JsonLimits(app), limit), limit))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        largest = await peak(b" " * limit, 200)
        bomb = await peak(gzip.compress(bytes(100 * limit)), 413, **{"Content-Encoding": "gzip"})
    assert largest > limit
    assert bomb < largest + limit / 2


async def test_a_stranger_s_body_is_not_unpacked(settings_for: Callable[..., Settings], tmp_path: Path) -> None:
    async with asking(settings_for(api_keys_file=write_keys(tmp_path / "keys.toml"))) as client:
        for headers, kind in (({}, "unauthenticated"), (bearer("write"), "forbidden"), (bearer("read"), "unreadable-body")):
            answer = await client.post("/v1/embeddings", content=b"no gzip", headers={**headers, "Content-Encoding": "gzip"})
            assert problem(answer) == kind


def test_over_real_connections(tiny_path: Path, tmp_path: Path) -> None:
    """In chunks, as a client sends what it packs on the way; and many bombs one after another leave no memory behind."""
    body = gzip.compress(json.dumps({"notes": NOTES}).encode())
    with (
        running_service(tiny_path, tmp_path) as service,
        httpx.Client(base_url=service.url, timeout=60, trust_env=False) as client,
    ):
        answer = client.post("/notes/embed", content=iter([body[:50], body[50:]]), headers=encoding("gzip"))
        assert [note["status"] for note in answer.json()["notes"]] == ["stored"] * len(NOTES)
        bomb = gzip.compress(bytes(400 * MIB))
        for _ in range(3):
            assert client.post("/notes/embed", content=bomb, headers=encoding("gzip")).status_code == 413
        assert client.post("/notes/embed", content=body, headers=encoding("gzip")).json()["notes"][0]["status"] == "unchanged"
