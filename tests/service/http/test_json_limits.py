"""Bodies that are deep, wide, or meant to be slow to read."""

import gc
import json
import time
import tracemalloc
from typing import Any

import httpx
import pytest
from hypothesis import given, settings, strategies as st

from service.errors import InvalidRequest, UnreadableBody
from service.http.json_limits import MAX_DEPTH, MAX_VALUES, check_json
from tests.service.calls import on_shared_loop

CALLS = ["/notes/embed", "/notes/similar", "/notes/hashtags", "/v1/embeddings"]
JSON = {"Content-Type": "application/json"}
SIZE = 4 * 2**20


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def rule(body: bytes) -> str | None:
    try:
        check_json(body)
    except InvalidRequest as error:
        return error.errors[0].rule
    return None


def test_as_deep_as_it_may_be() -> None:
    assert rule(nested(MAX_DEPTH)) is None
    assert rule(nested(MAX_DEPTH + 1)) == "too_deep"
    assert rule(b'{"a":' * 17 + b"1" + b"}" * 17) == "too_deep"
    assert rule(b"[" + b"[]," * 100 + b"[]]") is None


def test_as_many_values_as_there_may_be() -> None:
    assert rule(b"[" + b"1," * (MAX_VALUES - 2) + b"1]") is None
    assert rule(b"[" + b"1," * MAX_VALUES + b"1]") == "too_many_values"
    assert rule(b"[" + b"[]," * MAX_VALUES + b"1]") == "too_many_values"
    assert rule(b"]" * SIZE) is None, "nothing is made of it: the parser ends at the first"


def test_brackets_in_texts_are_no_structure() -> None:
    text = '[{"\\' * 100_000
    assert rule(json.dumps({"notes": [{"id": "n", "content": text}]}).encode()) is None
    assert rule(json.dumps(["\\", "[" * 200, '"', "{" * 200, "\\\\" * 3]).encode()) is None


def test_a_body_that_is_not_in_utf_8_is_not_counted() -> None:
    for encoding in ("utf-16", "utf-16-le", "utf-32"):
        with pytest.raises(UnreadableBody):
            check_json("[[1]]".encode(encoding))


TEXTS = st.text() | st.text('"\\[{,]}')  # what could be taken for structure, or hide it


@given(st.recursive(st.none() | st.integers() | TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner)))
@settings(max_examples=300, deadline=None)
def test_the_depth_is_that_of_the_document(document: Any) -> None:
    def depth(value: Any) -> int:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inner is None else 1 + max(map(depth, inner), default=0)

    padding = '"' + "[" * 20 + '"'  # so that it is counted exactly
    for ascii_only in (True, False):
        body = f"[{padding}, {json.dumps(document, ensure_ascii=ascii_only)}]".encode("utf-8", "surrogatepass")
        assert rule(body) == ("too_deep" if depth(document) + 1 > MAX_DEPTH else None)


HOSTILE = {
    "open arrays": b"[" * SIZE,
    "closed arrays": nested(SIZE // 2),
    "objects": b'{"a":' * (SIZE // 5),
    "empty arrays": b"[" + b"[]," * (SIZE // 3),
    "empty objects": b'{"notes":[' + b"{}," * (SIZE // 3),
    "numbers": b"[" + b"1," * (SIZE // 2),
    "quotes without an end": b'"\\' * (SIZE // 2),
    "escaped quotes": b'"' + b'\\"' * (SIZE // 2),
    "backslashes": b"[" * 20 + b'"' + b"\\" * SIZE,
    "short strings": b"[" + b'"",' * (SIZE // 3),
    "digits": b"[" + b"9" * SIZE,
    "commas": b"," * SIZE,
    "brackets in strings": b"[" + b'"[",' * (SIZE // 4),
}


@on_shared_loop
@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_body_is_refused_quickly_and_without_memory(name: str, shared: httpx.AsyncClient) -> None:
    body = HOSTILE[name][: SIZE - 100]
    gc.freeze()  # so that a collection passes over what torch has: a hundred milliseconds each
    tracemalloc.start()
    try:
        for path in CALLS:
            gc.collect()  # what the call before has left
            tracemalloc.reset_peak()
            start = time.process_time()
            response = await shared.post(path, content=body, headers=JSON)
            assert time.process_time() - start < 60, "what takes time that grows with the square of the size takes hours"
            assert response.status_code in {400, 422}, response.text
            assert tracemalloc.get_traced_memory()[1] < 12 * SIZE
    finally:
        tracemalloc.stop()
        gc.unfreeze()


@on_shared_loop
@pytest.mark.parametrize("depth", [17, 100, 900, 1000, 1100, 100_000])
async def test_depth_never_makes_the_service_fail(depth: int, shared: httpx.AsyncClient) -> None:
    objects = b'{"a":' * depth + b"1" + b"}" * depth
    for inner in (nested(depth), b"[" * depth, objects):
        for body in (inner, b'{"notes": [' + inner + b"]}", b'{"notes": [{"id": "x", "title": ' + inner + b"}]}"):
            for path in CALLS:
                response = await shared.post(path, content=body, headers=JSON)
                assert response.status_code in {400, 422}
                assert response.json()["errors"][0]["rule"] in {"too_deep", "too_many_values"}


@on_shared_loop
async def test_the_largest_request_is_taken(shared: httpx.AsyncClient) -> None:
    notes = [{"id": f"n{number}", "title": "[" * 10, "hashtags": [f"t{tag}" for tag in range(100)]} for number in range(256)]
    response = await shared.post("/notes/embed", json={"notes": notes, "store": False, "vectors": False})
    assert response.status_code == 200, response.text
