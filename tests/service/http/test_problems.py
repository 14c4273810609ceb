"""Problem documents, as responses and as OpenAPI describes them."""

import json

from starlette.responses import JSONResponse
from starlette.types import Scope

from service.errors import IndexUnavailable, InvalidRequest, QueueFull, RateLimited, ServiceError, ShuttingDown
from service.http.problems import describe_problems, problem_response
from service.observability import request_id
from tests.service.calls import Json

HERE: Scope = {"type": "http", "path": "/notes/embed"}
OPENAI: Scope = {"type": "http", "path": "/v1/embeddings"}


def read(response: JSONResponse) -> Json:
    document: Json = json.loads(bytes(response.body))
    return document


def test_an_error_is_answered_with_its_status_headers_and_the_request_id() -> None:
    reset = request_id.set("r7")
    response = problem_response(IndexUnavailable("it is away", retry_after=3), HERE)
    request_id.reset(reset)
    assert (response.status_code, response.media_type) == (503, "application/problem+json")
    assert response.headers["Retry-After"] == "3"
    assert read(response) == {
        "type": "urn:notellm:problem:index-unavailable", "title": IndexUnavailable.title, "status": 503, "detail": "it is away",
        "request_id": "r7", "errors": [],
    }  # fmt: skip


def test_under_v1_there_is_what_openai_clients_show() -> None:
    error = InvalidRequest.of("input[2]", "empty", "the text is empty")
    document = read(problem_response(error, OPENAI))
    assert document["error"] == {
        "message": "input[2]: the text is empty", "type": "urn:notellm:problem:invalid-request", "param": "input[2]",
        "code": "empty",
    }  # fmt: skip
    assert document.keys() - {"error"} == read(problem_response(error, HERE)).keys()


def test_errors_of_one_status_share_a_response() -> None:
    described = describe_problems(ShuttingDown, RateLimited, QueueFull, IndexUnavailable, QueueFull)
    assert list(described) == [429, 503]
    assert described[429]["description"] == f"{RateLimited.description()} {QueueFull.description()}"
    assert list(described[503]["content"]) == ["application/problem+json"]


def every_error(base: type[ServiceError] = ServiceError) -> list[type[ServiceError]]:
    return [error for one in base.__subclasses__() for error in (one, *every_error(one))]


def test_every_error_is_described_by_one_sentence_of_its_own() -> None:
    texts = [error.description() for error in every_error()]
    assert all(text.endswith(".") and "\n" not in text for text in texts)
    assert len(set(texts)) == len(texts)
