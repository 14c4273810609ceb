"""The order in which middleware sees a request, and what follows from it."""

from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.http import Drain, create_app
from service.observability.spans import Tracing
from service.serving import Runtime, open_service
from service.settings import Settings
from tests.service.security.keyed import bearer, problem, write_keys

ORIGIN, LARGE = "https://shop.example", b"[" * 5000
ALWAYS = [
    "RequestPath", "SecurityHeaders", "RequestContext", "RequestRecord", "HeadRequests", "UnexpectedErrors", "HeadLimit", "Gate",
    "RefuseWhileDraining", "RequestLifetime", "BodyEncoding", "BodyLimit", "JsonLimits",
]  # fmt: skip
EVERYTHING = [
    "RequestPath", "SecurityHeaders", "TracedRequests", "RequestContext", "RequestRecord", "HeadRequests", "UnexpectedErrors",
    "CORSMiddleware", "HeadLimit", "Gate", "RefuseWhileDraining", "RequestLifetime", "BodyEncoding", "BodyLimit", "JsonLimits",
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
    settings = settings_for(cors_origins=ORIGIN if optional else "")
    tracing = Tracing(SimpleSpanProcessor(InMemorySpanExporter())) if optional else None
    assert layers(create_app(runtime, settings, tracing=tracing)) == expected


async def test_what_the_order_is_for(settings_for: Callable[..., Settings], tmp_path: Path) -> None:
    """Each refusal comes from the outermost layer that has a reason for it, with what the layers around it add."""
    settings = settings_for(api_keys_file=write_keys(tmp_path / "keys.toml"), cors_origins=ORIGIN, max_body_bytes=1024)
    drain = Drain()
    async with open_service(settings) as runtime:
        transport = httpx.ASGITransport(create_app(runtime, settings, drain), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers={"Origin": ORIGIN}) as client:
            answers = {
                "head-too-large": await client.get("/model", headers={"X-Long": "x" * 20_000}),
                "unauthenticated": await client.post("/notes/embed", content=LARGE),
                "body-too-large": await client.post("/notes/embed", content=LARGE, headers=bearer("write")),
                "invalid-request": await client.post("/notes/embed", content=b"[" * 500, headers=bearer("write")),
            }
            drain.begun = True
            answers["shutting-down"] = await client.post("/notes/embed", content=LARGE, headers=bearer("write"))
            stranger = await client.get("/model")
        for kind, answer in answers.items():
            assert problem(answer) == kind
            assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
            assert answer.headers["Cache-Control"] == "no-store"
        assert problem(stranger) == "unauthenticated", "a draining process tells strangers nothing else"
        for status in (431, 401, 413, 422, 503):
            counted = runtime.metrics.registry.get_sample_value("notellm_http_requests_total", labels_of(status))
            assert counted, status


def labels_of(status: int) -> dict[str, str]:
    """A head that is too long is refused before its route is known."""
    known = {"method": "POST", "route": "/notes/embed", "status": str(status)}
    return known | {"method": "GET", "route": "unknown"} if status == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE else known
