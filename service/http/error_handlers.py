"""`handle_errors`: turns the known errors of routes and framework into problem documents. `UnexpectedErrors` handles all others."""

from collections.abc import Sequence
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from service.errors import BodyTooLarge, FieldError, InvalidRequest, ServiceError, UnreadableBody
from service.http.problems import NOT_JSON, document_response, problem, problem_response
from service.observability import request_id

MAX_ERRORS = 20


def handle_errors(app: FastAPI) -> None:
    """Adds the handlers to an application."""
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)


async def _service_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ServiceError)
    return problem_response(error, request.scope)


async def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = error.errors()
    if any(item["type"] == "json_invalid" for item in errors):
        detail = f"the body is not JSON: {errors[0].get('ctx', {}).get('error', 'it cannot be parsed')}"
        return problem_response(UnreadableBody(detail), request.scope)
    if errors[0]["type"] == "model_attributes_type" and not _says_json(request):
        return problem_response(UnreadableBody("send the header Content-Type: application/json with the body"), request.scope)
    broken = [
        FieldError(field=_field(item["loc"]), rule=item["type"], message=_in_json(item["msg"])) for item in errors[:MAX_ERRORS]
    ]
    return problem_response(InvalidRequest.listing(broken), request.scope)


def _in_json(message: str) -> str:
    """Rewrites a message in JSON's terms: the service parses lists into tuples, but the client sent a list."""
    return _printable(message.removeprefix("Value error, ").replace("a valid tuple", "a valid list"))


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    known = {
        HTTPStatus.BAD_REQUEST: UnreadableBody(NOT_JSON),
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: BodyTooLarge(error.detail),
    }
    status = HTTPStatus(error.status_code)
    if status in known:
        return problem_response(known[status], request.scope)
    kind = status.phrase.lower().replace(" ", "-")
    document = problem(status, kind, status.phrase, str(error.detail), request_id=request_id.get())
    headers = {"Allow": _allowed(request)} if status is HTTPStatus.METHOD_NOT_ALLOWED else error.headers
    return document_response(document, request.scope, headers)


def _allowed(request: Request) -> str:
    """Lists the methods of all routes with the request's path. The framework lists those of the first one."""
    routes = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
    methods = {method for route in routes for method in getattr(route, "methods", None) or ()}
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))


def _says_json(request: Request) -> bool:
    return "json" in request.headers.get("content-type", "")


def _field(location: Sequence[str | int]) -> str:
    """Turns `("body", "notes", 3, "title")` into `notes[3].title`. Locations outside the body keep their name: `query.limit`."""
    parts = location[1:] if location[:1] == ("body",) else location
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return _printable(text) or "body"


def _printable(text: str) -> str:
    """Cuts the text to 300 characters and escapes those that UTF-8 cannot encode: messages repeat keys that clients sent."""
    return text[:300].encode("utf-8", "backslashreplace").decode("utf-8")
