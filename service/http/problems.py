"""Problem documents (RFC 9457): as responses to requests, and as the error responses that OpenAPI lists for a call."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import Scope

from service.errors import ServiceError
from service.observability import request_id

PROBLEM_JSON = "application/problem+json"
NOT_JSON = "the body cannot be read as JSON in UTF-8"


def problem_response(error: ServiceError, scope: Scope) -> JSONResponse:
    """Turns an error into the response that the client gets."""
    return document_response(error.problem(request_id.get()), scope, error.headers)


def document_response(document: dict[str, Any], scope: Scope, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Turns a problem document into a response. Under `/v1` it also gets OpenAI's `error` member, which OpenAI's clients show."""
    if scope["path"].startswith("/v1/"):
        errors = document.get("errors")
        error = {
            "message": document["detail"],
            "type": document["type"],
            "param": errors[0]["field"] if errors else None,
            "code": errors[0]["rule"] if errors else None,
        }
        document = document | {"error": error}
    return JSONResponse(document, status_code=document["status"], headers=dict(headers or {}), media_type=PROBLEM_JSON)


def describe_problems(*errors: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """Returns a call's error responses by status, for OpenAPI. Errors with the same status share one response."""
    descriptions: dict[int, list[str]] = {}
    for error in sorted(errors, key=lambda error: error.status):
        descriptions.setdefault(int(error.status), []).append(error.description())
    content = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": " ".join(dict.fromkeys(texts)), "content": content} for status, texts in descriptions.items()
    }
