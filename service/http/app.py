"""`create_app`: routes, middleware and error handling around a running service."""

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.middleware.cors import CORSMiddleware

from service.errors import Problem
from service.http.body_limit import BodyLimit
from service.http.browsers import CORS_ANSWER_HEADERS, CORS_METHODS, CORS_REQUEST_HEADERS, SecurityHeaders, docs_policy
from service.http.draining import Drain, RefuseWhileDraining
from service.http.error_handlers import handle_errors
from service.http.gate import Gate, describe_access
from service.http.head_limit import HeadLimit
from service.http.json_limits import JsonLimits
from service.http.request_context import API_VERSION, RequestContext
from service.http.request_lifetime import RequestLifetime
from service.http.routes import admin, migration, notes, openai, operations
from service.http.traced_requests import TracedRequests
from service.notes import NoteArchive
from service.security import RateLimits, Rates
from service.serving import Runtime
from service.settings import Settings, read_origins

if TYPE_CHECKING:
    from service.observability.spans import Tracing


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
    handle_errors(app)
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
    handle_errors(app)
    return app


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
