"""What clients of OpenAI and of its imitators send: options that are `null`, fields that only another service knows, models."""

from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from notellm.checkpoint import MANIFEST
from notellm.messages import EXAMPLE_NOTE, EXAMPLE_TEXT
from service.http.openai_schemas import OpenAIEmbeddingsRequest
from tests.service.security.keyed import problem

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


async def test_the_openai_client_lists_models(client: httpx.AsyncClient, tiny_path: Path) -> None:
    speaking = openai.AsyncOpenAI(api_key="unused", base_url="http://test/v1", http_client=client, max_retries=0)  # type: ignore[arg-type]
    (listed,) = [model async for model in await speaking.models.list()]
    assert listed == await speaking.models.retrieve("tiny")
    written = int((tiny_path / MANIFEST).stat().st_mtime)
    assert listed.model_dump(exclude_none=True) == {"id": "tiny", "object": "model", "created": written, "owned_by": "notellm"}
    assert (await client.get("/v1/models")).json() == {"object": "list", "data": [listed.model_dump(exclude_none=True)]}
    with pytest.raises(openai.NotFoundError, match="tiny is served, not 'other'") as refused:
        await speaking.models.retrieve("other")
    assert (refused.value.code, refused.value.param) == ("model_not_found", "path.model")


@pytest.mark.parametrize("name", ["other", "Qwen/Qwen3-Embedding-0.6B", "Qwen%2FQwen3", "tiny/x", "tinY", "a b", "x" * 300])
async def test_another_model_is_not_found(name: str, client: httpx.AsyncClient) -> None:
    refused = await client.get(f"/v1/models/{name}")
    assert (refused.status_code, problem(refused)) == (404, "model-not-found")
    metrics = (await client.get("/metrics")).text
    assert 'notellm_http_requests_total{method="GET",route="/v1/models/{model}",status="404"} 1.0' in metrics
