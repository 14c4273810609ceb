"""The order in which middleware sees a request, and what follows from it."""

from collections.abc import Callable

import pytest
from fastapi import FastAPI
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.http import create_app
from service.observability.spans import Tracing
from service.serving import Runtime
from service.settings import Settings

ALWAYS = [
    "SecurityHeaders", "RequestContext", "RequestRecord", "UnexpectedErrors", "HeadLimit", "Gate", "RefuseWhileDraining",
    "RequestLifetime", "BodyLimit", "JsonLimits",
]  # fmt: skip
EVERYTHING = [
    "SecurityHeaders", "TracedRequests", "RequestContext", "RequestRecord", "UnexpectedErrors", "CORSMiddleware", "HeadLimit",
    "Gate", "RefuseWhileDraining", "RequestLifetime", "BodyLimit", "JsonLimits",
]  # fmt: skip
# Starlette's and FastAPI's own layers around and inside ours.
FRAMEWORK = {"ServerErrorMiddleware", "ExceptionMiddleware", "AsyncExitStackMiddleware"}


def layers(app: FastAPI) -> list[str]:
    """What a request passes on its way to the routes, outermost first, as the application has put it together."""
    names, layer = [], app.build_middleware_stack()
    while layer is not app.router:
        names.append(type(layer).__name__)
        layer = vars(layer)["app"] if "app" in vars(layer) else vars(layer)["_app"]
    return [name for name in names if name not in FRAMEWORK]


@pytest.mark.parametrize(("optional", "expected"), [(False, ALWAYS), (True, EVERYTHING)])
async def test_a_request_passes_the_middleware_in_this_order(
    runtime: Runtime, settings_for: Callable[..., Settings], optional: bool, expected: list[str]
) -> None:
    settings = settings_for(cors_origins="https://shop.example" if optional else "")
    tracing = Tracing(SimpleSpanProcessor(InMemorySpanExporter())) if optional else None
    assert layers(create_app(runtime, settings, tracing=tracing)) == expected
