"""Problem documents (RFC 9457): as the response to a request, and as a call's error responses in OpenAPI."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import Scope

from service.errors import PROBLEM_JSON, ServiceError
from service.observability import request_id


def problem_response(error: ServiceError, scope: Scope) -> JSONResponse:
    """The error as the client gets it."""
    return document_response(error.problem(request_id.get()), scope, error.headers)


def document_response(document: dict[str, Any], scope: Scope, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """A problem document; under `/v1` it has OpenAI's `error` member too, which their clients show."""
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
    """The responses, by status, with which a call may answer instead of its own. Errors of one status share a response."""
    descriptions: dict[int, list[str]] = {}
    for error in sorted(errors, key=lambda error: error.status):
        descriptions.setdefault(int(error.status), []).append(error.description())
    content = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": " ".join(dict.fromkeys(texts)), "content": content} for status, texts in descriptions.items()
    }
