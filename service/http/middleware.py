"""`list_middleware`: what a request passes on its way to the routes, outermost first, each with the reason for its place.

The answer passes the same list the other way. Each module of a middleware has one effect.
"""

from collections.abc import Mapping

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from service.http.body_limit import BodyLimit
from service.http.browsers import CORS_ANSWER_HEADERS, CORS_METHODS, CORS_REQUEST_HEADERS, SecurityHeaders
from service.http.draining import Drain, RefuseWhileDraining
from service.http.gate import Gate
from service.http.head_limit import HeadLimit
from service.http.json_limits import JsonLimits
from service.http.request_context import RequestContext
from service.http.request_lifetime import RequestLifetime
from service.http.request_record import RequestRecord
from service.http.traced_requests import TracedRequests
from service.http.unexpected_errors import UnexpectedErrors
from service.observability.tracing import RequestTracing
from service.security import RateLimits, Rates
from service.serving import Runtime
from service.settings import Settings, read_origins


def list_middleware(
    runtime: Runtime, settings: Settings, drain: Drain, tracing: RequestTracing | None, page_policies: Mapping[str, str]
) -> list[Middleware]:
    """The middleware of an application.

    Args:
        runtime: the service behind it.
        settings: its limits, and the origins whose pages may ask.
        drain: shared with the server.
        tracing: makes the spans; None where nothing is traced.
        page_policies: see `SecurityHeaders`.
    """
    rates = Rates(settings.requests_per_second, settings.tokens_per_second)
    return [
        # Every answer has these headers, whichever of the others gives it.
        Middleware(SecurityHeaders, pages=page_policies),
        # Outside all that logs: log lines name the trace.
        *_tracing(tracing),
        # Outside all that logs or refuses: log lines and error documents name the request.
        Middleware(RequestContext),
        # Outside all that refuses or fails: those requests are counted and logged, too.
        Middleware(RequestRecord, metrics=runtime.metrics),
        # Outside all that may fail, and inside what a 500 needs like any other answer: headers, an id, a log line.
        Middleware(UnexpectedErrors),
        # Outside the gate: a browser asks in advance without the key, and shows a refusal to the page only with these headers.
        *_other_origins(settings),
        # Outside the gate, which reads the headers.
        Middleware(HeadLimit),
        # Before the body is read. It finds out whose request it is, which everything inside may need.
        Middleware(Gate, keys=runtime.keys, limits=RateLimits(runtime.metrics), rates=rates),
        # Inside the gate: a wrong key is refused as at any time. Outside the lifetime: the drain waits for its 503 and 504, too.
        Middleware(RefuseWhileDraining, drain=drain),
        # Inside the gate, which names the client. Outside all that reads the body: that takes from the request's time.
        Middleware(RequestLifetime, timeout_seconds=settings.request_timeout_seconds, drain=drain),
        # Outside the JSON limits, which read the whole body.
        Middleware(BodyLimit, max_bytes=settings.max_body_bytes),
        # Last before the routes, which parse the body.
        Middleware(JsonLimits),
    ]


def _tracing(tracing: RequestTracing | None) -> list[Middleware]:
    return [Middleware(TracedRequests, tracing=tracing)] if tracing else []


def _other_origins(settings: Settings) -> list[Middleware]:
    """What lets pages of other origins ask, where the operator names such origins."""
    if not (origins := read_origins(settings.cors_origins)):
        return []
    return [
        Middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=CORS_METHODS, allow_headers=CORS_REQUEST_HEADERS,
            expose_headers=CORS_ANSWER_HEADERS,
        )
    ]  # fmt: skip
