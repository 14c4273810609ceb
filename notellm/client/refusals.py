"""Reads an error answer, the service's own or a proxy's, into the exception that a caller catches."""

from http import HTTPStatus
from typing import Any

from pydantic import TypeAdapter, ValidationError

from notellm.client.problems import BadRequest, BodyTooLarge, BrokenRule, Busy, Failed, NotAllowed, ServiceProblem

TYPE_PREFIX = "urn:notellm:problem:"
_MOST_TEXT = 300
_RULES = TypeAdapter(list[BrokenRule])
_BY_STATUS: dict[int, type[ServiceProblem]] = {
    HTTPStatus.UNAUTHORIZED: NotAllowed,
    HTTPStatus.FORBIDDEN: NotAllowed,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: BodyTooLarge,
    HTTPStatus.TOO_MANY_REQUESTS: Busy,
    HTTPStatus.SERVICE_UNAVAILABLE: Busy,
}


def read_refusal(status: int, document: Any, retry_after: str | None = None) -> ServiceProblem:  # noqa: ANN401
    """Reads an error answer (RFC 9457).

    Args:
        status: its HTTP status.
        document: its JSON, or its text if it is none, as from a proxy.
        retry_after: its header `Retry-After`.
    """
    seconds = float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdecimal() else None
    if not isinstance(document, dict):
        text = document if isinstance(document, str) else ""
        return _of_status(status)(status, text[:_MOST_TEXT] or _phrase(status), retry_after=seconds)
    kind = str(document.get("type", "")).removeprefix(TYPE_PREFIX)
    try:
        errors = _RULES.validate_python(document.get("errors", []))
    except ValidationError:
        errors = []
    detail, name = document.get("detail"), document.get("request_id")
    return ServiceProblem.by_kind.get(kind, _of_status(status))(
        status, str(detail) if detail else _phrase(status), errors=errors,
        request_id=str(name) if name else None, retry_after=seconds,
    )  # fmt: skip


def _of_status(status: int) -> type[ServiceProblem]:
    """The class of an error that is not the service's own, such as a proxy's."""
    default = Failed if status >= HTTPStatus.INTERNAL_SERVER_ERROR else BadRequest
    return _BY_STATUS.get(status, default)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "it does not say why"
