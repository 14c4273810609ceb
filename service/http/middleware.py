"""`list_middleware`: the middleware around the routes, outermost first, each with the reason for its place.

A request passes the list from top to bottom, and the answer from bottom to top. Each middleware module has one effect.
"""

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from service.http.body_encoding import BodyEncoding
from service.http.body_limit import BodyLimit
from service.http.browsers import CORS_ANSWER_HEADERS, CORS_METHODS, CORS_REQUEST_HEADERS, SecurityHeaders
from service.http.draining import Drain, RefuseWhileDraining
from service.http.gate import Gate
from service.http.head_limit import HeadLimit
from service.http.head_requests import HeadRequests
from service.http.json_limits import JsonLimits
from service.http.request_context import RequestContext
from service.http.request_lifetime import RequestLifetime
from service.http.request_path import RequestPath
from service.http.request_record import RequestRecord
from service.http.traced_requests import TracedRequests
from service.http.unexpected_errors import UnexpectedErrors
from service.observability.tracing import RequestTracing
from service.security import RateLimits, Rates
from service.serving import Runtime
from service.settings import Settings, read_origins


def list_middleware(runtime: Runtime, settings: Settings, drain: Drain, tracing: RequestTracing | None) -> list[Middleware]:
    """Returns the middleware of an application.

    Args:
        runtime: the service behind the application.
        settings: the limits, and the origins whose pages may send requests.
        drain: shared with the server.
        tracing: makes the spans; None if nothing is traced.
    """
    rates = Rates(settings.requests_per_second, settings.tokens_per_second)
    return [
        # Outermost, and answers nothing itself: everything inside compares paths.
        Middleware(RequestPath, root_path=settings.root_path),
        # Outside everything that answers: every answer has these headers, whichever middleware gives it.
        Middleware(SecurityHeaders),
        # Outside everything that logs: log lines name the trace.
        *_tracing(tracing),
        # Outside everything that logs or refuses: log lines and error documents name the request.
        Middleware(RequestContext),
        # Outside everything that refuses or fails, so that those requests are counted and logged as well.
        Middleware(RequestRecord, metrics=runtime.metrics),
        # Inside the record, which tells HEAD from GET. Outside the gate and the routes, which know GET, and outside everything that
        # sends a body.
        Middleware(HeadRequests),
        # Outside everything that may fail, and inside the headers, the request id and the log line, which a 500 needs as well.
        Middleware(UnexpectedErrors),
        # Outside the gate: a browser's preflight request has no key, and the page can read a refusal only with these headers.
        *_other_origins(settings),
        # Outside the gate, which reads the headers.
        Middleware(HeadLimit),
        # Before the body is read. The gate identifies the client for everything inside.
        Middleware(Gate, keys=runtime.keys, limits=RateLimits(runtime.metrics), rates=rates),
        # Inside the gate: a drain changes nothing for a wrong key. Outside the lifetime: the drain also waits for its 503 and 504.
        Middleware(RefuseWhileDraining, drain=drain),
        # Inside the gate, which names the client. Outside everything that reads the body: reading counts towards the deadline.
        Middleware(RequestLifetime, timeout_seconds=settings.request_timeout_seconds, drain=drain),
        # Inside the gate: strangers get nothing unpacked. Inside the lifetime: unpacking counts towards the deadline. Outside the body
        # limit, which counts what is held in memory: the unpacked bytes.
        Middleware(BodyEncoding, max_bytes=settings.max_body_bytes),
        # Outside the JSON limits, which read the whole body.
        Middleware(BodyLimit, max_bytes=settings.max_body_bytes),
        # Last before the routes, which parse the body.
        Middleware(JsonLimits),
    ]


def _tracing(tracing: RequestTracing | None) -> list[Middleware]:
    return [Middleware(TracedRequests, tracing=tracing)] if tracing else []


def _other_origins(settings: Settings) -> list[Middleware]:
    """Lets pages from other origins send requests, if the operator has named such origins."""
    if not (origins := read_origins(settings.cors_origins)):
        return []
    return [
        Middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=CORS_METHODS, allow_headers=CORS_REQUEST_HEADERS,
            expose_headers=CORS_ANSWER_HEADERS,
        )
    ]  # fmt: skip
