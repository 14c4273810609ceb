"""`create_app`: routes, middleware and error handling around a running service."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.http.draining import Drain
from service.http.error_handlers import handle_errors
from service.http.gate import describe_access
from service.http.middleware import list_middleware
from service.http.problems import Problem
from service.http.request_context import API_VERSION
from service.http.routes import admin, docs, migration, notes, openai, operations, playground
from service.notes import NoteArchive
from service.observability.tracing import RequestTracing
from service.serving import Runtime
from service.settings import Settings

TITLE = "NoteLLM"
DESCRIPTION = """One fine-tuned LLaMA reads a note (title, content, hashtags) and gives a vector for item-to-item recommendation,
hashtags and a category, after [NoteLLM](https://arxiv.org/abs/2403.01744).

`HEAD` is answered wherever `GET` is, with the same status and headers.

Errors are `application/problem+json` (RFC 9457): decide by `type`; `errors` names each broken rule and its field."""


def create_app(
    runtime: Runtime, settings: Settings, drain: Drain | None = None, tracing: RequestTracing | None = None
) -> FastAPI:
    """Builds the ASGI application around a service that `open_service` made. Pass the `drain` of the server if it has one."""
    drain = drain or Drain()
    app = FastAPI(
        title=TITLE, version=API_VERSION, description=DESCRIPTION, openapi_url=docs.OPENAPI_URL, docs_url=None, redoc_url=None,
        redirect_slashes=False,  # `RequestPath` has removed them
        middleware=list_middleware(runtime, settings, drain, tracing),
    )  # fmt: skip
    app.state.runtime = runtime
    app.state.settings = settings
    app.state.drain = drain
    app.state.archive = lambda: runtime.archive  # read each time: a migration replaces it
    for routes in (notes, openai, operations, docs, admin, migration):
        app.include_router(routes.router)
    app.include_router(playground.router if settings.playground else docs.start_router)
    handle_errors(app)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def create_archive_app(archive: NoteArchive) -> FastAPI:
    """Builds an application with only `/admin/notes`, over an index without a model. Backups use it when no service is running."""
    app = FastAPI(openapi_url=None)
    app.state.archive = lambda: archive
    app.include_router(admin.router)
    handle_errors(app)
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Returns FastAPI's description with our error document in place of FastAPI's own."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = schema["components"]["schemas"]
        document = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= document.pop("$defs")
        schemas["Problem"] = document
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        keyed, settings = app.state.runtime.keys is not None, app.state.settings
        if settings.root_path:
            schema["servers"] = [{"url": settings.root_path}]
        describe_access(schema, keyed=keyed, limited=keyed or bool(settings.requests_per_second or settings.tokens_per_second))
        app.openapi_schema = schema
    return app.openapi_schema
