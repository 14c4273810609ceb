"""What clients of OpenAI and of its imitators send: options that are `null`, and fields that only another service knows."""

from typing import Any

import httpx
import pytest

from service.http.openai_schemas import OpenAIEmbeddingsRequest
from service.http.schemas import EXAMPLE_NOTE, EXAMPLE_TEXT

TEXT = "grind finer?"
OPTIONAL = [name for name, field in OpenAIEmbeddingsRequest.model_fields.items() if not field.is_required()]
# What litellm, LangChain, Cohere's, Voyage's, NVIDIA's and vLLM's clients add.
FOREIGN: dict[str, Any] = {
    "input_type": "query", "truncate": "END", "truncate_prompt_tokens": -1, "extra_body": {"priority": 1}, "task_type": None,
    "output_dtype": "float", "normalized": True, "late_chunking": False, "metadata": {}, "timeout": 600, "priority": 0,
}  # fmt: skip


def test_everything_but_the_input_is_optional() -> None:
    assert OPTIONAL == ["model", "encoding_format", "dimensions", "user"]


@pytest.mark.parametrize("left_out", [[name] for name in OPTIONAL] + [OPTIONAL])
async def test_null_is_the_default(left_out: list[str], client: httpx.AsyncClient) -> None:
    plain = await client.post("/v1/embeddings", json={"input": TEXT})
    null = await client.post("/v1/embeddings", json={"input": TEXT, **dict.fromkeys(left_out)})
    assert null.status_code == 200, null.text
    assert null.json() == plain.json()
    assert isinstance(null.json()["data"][0]["embedding"], list)


@pytest.mark.parametrize("name", FOREIGN)
async def test_fields_that_only_another_service_knows_are_ignored(name: str, client: httpx.AsyncClient) -> None:
    plain = await client.post("/v1/embeddings", json={"input": TEXT})
    foreign = await client.post("/v1/embeddings", json={"input": TEXT, name: FOREIGN[name]})
    assert foreign.status_code == 200, foreign.text
    assert foreign.json() == plain.json()


async def test_the_user_may_be_anything(client: httpx.AsyncClient) -> None:
    for user in ("u-1", 7, {"id": 7}):
        assert (await client.post("/v1/embeddings", json={"input": TEXT, "user": user})).status_code == 200


@pytest.mark.parametrize(
    ("wrong", "field"),
    [({"input": None}, "input"), ({}, "input"), ({"input": TEXT, "encoding_format": "hex"}, "encoding_format"),
     ({"input": TEXT, "dimensions": "48"}, "dimensions")],
)  # fmt: skip
async def test_what_is_known_is_still_checked(wrong: dict[str, Any], field: str, client: httpx.AsyncClient) -> None:
    refused = await client.post("/v1/embeddings", json=wrong)
    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == [field]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/notes/embed", {"notes": [EXAMPLE_NOTE]}),
        ("/notes/similar", {"note": EXAMPLE_TEXT}),
        ("/notes/hashtags", {"notes": [EXAMPLE_TEXT]}),
    ],
)
async def test_other_calls_refuse_unknown_fields(path: str, body: dict[str, Any], client: httpx.AsyncClient) -> None:
    refused = await client.post(path, json={**body, "input_type": "query"})
    assert refused.status_code == 422
    assert [error["rule"] for error in refused.json()["errors"]] == ["extra_forbidden"]
