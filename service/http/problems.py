"""Problem documents (RFC 9457): as responses to requests, and as the error responses that OpenAPI lists for a call."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse
from starlette.types import Scope

from service.errors import FieldError, ServiceError
from service.observability import request_id

PROBLEM_JSON = "application/problem+json"
NOT_JSON = "the body cannot be read as JSON in UTF-8"


class Problem(BaseModel):
    """An error document as defined by RFC 9457. `type` is stable: let programs check it rather than `detail`."""

    type: str = Field(examples=["urn:notellm:problem:invalid-request"])
    title: str = Field(examples=["The request breaks a rule"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["notes[3].title: String should have at most 2000 characters"])
    request_id: str | None = Field(default=None, description="Also in the `X-Request-Id` header and in the logs.")
    errors: list[FieldError] = Field(default_factory=list)


def problem(
    status: int, kind: str, title: str, detail: str, *, request_id: str | None = None, errors: Sequence[FieldError] = ()
) -> dict[str, Any]:
    """Returns a problem document. `kind` becomes the last part of its `type`."""
    document = Problem(
        type=f"urn:notellm:problem:{kind}",
        title=title,
        status=int(status),
        detail=detail,
        request_id=request_id,
        errors=list(errors),
    )
    return document.model_dump(exclude_none=True)


def problem_response(error: ServiceError, scope: Scope) -> JSONResponse:
    """Turns an error into the response that the client gets."""
    document = problem(error.status, error.kind, error.title, error.detail, request_id=request_id.get(), errors=error.errors)
    return document_response(document, scope, error.headers)


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
