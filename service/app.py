"""`create_app`: routes, middleware and error handling around a running service."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from service.access import Gate, describe_access
from service.archive import NoteArchive
from service.browsers import CORS_ANSWER_HEADERS, CORS_METHODS, CORS_REQUEST_HEADERS, SecurityHeaders, docs_policy
from service.draining import Drain, RefuseWhileDraining
from service.errors import BodyTooLarge, FieldError, InvalidRequest, Problem, ServiceError, UnreadableBody, problem
from service.head_limit import HeadLimit
from service.json_limits import JsonLimits
from service.lifetime import RequestLifetime
from service.middleware import API_VERSION, BodyLimit, RequestContext, document_response, problem_response
from service.observability.requests import request_id
from service.routes import admin, migration, notes, openai, operations
from service.runtime import Runtime
from service.security.keys import Rates
from service.security.rate_limit import RateLimits
from service.settings.exposure import read_origins
from service.settings.settings import Settings
from service.traced_requests import TracedRequests

if TYPE_CHECKING:
    from service.observability.spans import Tracing

MAX_ERRORS = 20

DESCRIPTION = """One fine-tuned LLaMA reads a note (title, content, hashtags) and gives a vector for item-to-item recommendation,
hashtags and a category, after [NoteLLM](https://arxiv.org/abs/2403.01744).

Errors are `application/problem+json` (RFC 9457): decide by `type`; `errors` names each broken rule and its field."""


def create_app(runtime: Runtime, settings: Settings, drain: Drain | None = None, tracing: "Tracing | None" = None) -> FastAPI:
    """The ASGI application over a service made by `open_service`. `drain` is that of the server, if it has one."""
    drain = drain or Drain()
    app = FastAPI(title="NoteLLM", version=API_VERSION, description=DESCRIPTION, redoc_url=None)
    app.state.runtime = runtime
    app.state.settings = settings
    app.state.drain = drain
    app.state.archive = lambda: runtime.archive  # another one after a migration
    for routes in (notes, openai, operations, admin, migration):
        app.include_router(routes.router)
    _handle_errors(app)
    app.add_middleware(JsonLimits)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(RequestLifetime, timeout_seconds=settings.request_timeout_seconds, drain=drain)
    app.add_middleware(RefuseWhileDraining, drain=drain)
    rates = Rates(settings.requests_per_second, settings.tokens_per_second)
    app.add_middleware(Gate, keys=runtime.keys, limits=RateLimits(runtime.metrics), rates=rates)
    app.add_middleware(HeadLimit)
    if origins := read_origins(settings.cors_origins):
        app.add_middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=CORS_METHODS, allow_headers=CORS_REQUEST_HEADERS,
            expose_headers=CORS_ANSWER_HEADERS,
        )  # fmt: skip
    app.add_middleware(RequestContext, metrics=runtime.metrics)
    if tracing:
        app.add_middleware(TracedRequests, tracing=tracing)
    docs = docs_policy(app.openapi_url or "", f"{app.title} - Swagger UI", app.swagger_ui_oauth2_redirect_url)
    app.add_middleware(SecurityHeaders, pages={"/docs": docs})
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def create_archive_app(archive: NoteArchive) -> FastAPI:
    """Only `/admin/notes`, over an index without a model: what backups need where no service runs."""
    app = FastAPI(openapi_url=None)
    app.state.archive = lambda: archive
    app.include_router(admin.router)
    _handle_errors(app)
    return app


def _handle_errors(app: FastAPI) -> None:
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
    return problem_response(
        InvalidRequest("; ".join(f"{item.field}: {item.message}" for item in broken[:3]), broken), request.scope
    )


def _in_json(message: str) -> str:
    """What a client reads: that lists become tuples here is not theirs to know."""
    return _printable(message.removeprefix("Value error, ").replace("a valid tuple", "a valid list"))


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    known = {
        HTTPStatus.BAD_REQUEST: UnreadableBody("the body cannot be read as JSON in UTF-8"),
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: BodyTooLarge(error.detail),
    }
    status = HTTPStatus(error.status_code)
    if status in known:
        return problem_response(known[status], request.scope)
    kind = status.phrase.lower().replace(" ", "-")
    document = problem(status, kind, status.phrase, str(error.detail), request_id=request_id.get())
    return document_response(document, request.scope, error.headers)


def _says_json(request: Request) -> bool:
    return "json" in request.headers.get("content-type", "")


def _field(location: Sequence[str | int]) -> str:
    """`("body", "notes", 3, "title")` → `notes[3].title`; other places keep their name: `query.limit`."""
    parts = location[1:] if location[:1] == ("body",) else location
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return _printable(text) or "body"


def _printable(text: str) -> str:
    """At most 300 characters that can be encoded: clients' keys come back in messages."""
    return text[:300].encode("utf-8", "backslashreplace").decode("utf-8")


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's description, with our error document instead of its own."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = schema["components"]["schemas"]
        document = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= document.pop("$defs")
        schemas["Problem"] = document
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        keyed, settings = app.state.runtime.keys is not None, app.state.settings
        describe_access(schema, keyed=keyed, limited=keyed or bool(settings.requests_per_second or settings.tokens_per_second))
        app.openapi_schema = schema
    return app.openapi_schema
