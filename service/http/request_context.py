"""`RequestContext`: gives each request an id, counts it, times it and logs it, before anything is parsed."""

import logging
import re
import time
import uuid
from dataclasses import dataclass

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import problem
from service.http.problems import document_response
from service.observability import CLIENT_LEFT, METHODS, OPERATIONS, Metrics, request_id

API_VERSION = "1"
logger = logging.getLogger("service.access")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass
class _Answer:
    status: int = 0


class RequestContext:
    """Gives every request an id (the client's, if it is well formed), counts it, times it and logs one line for it.

    Args:
        app: the application inside.
        metrics: where requests are counted, by route template: no id of a note becomes a label.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        identity = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        reset = request_id.set(identity)
        answer, start = _Answer(), time.perf_counter()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = identity
                headers["API-Version"] = API_VERSION
            await send(message)

        self._metrics.in_flight.inc()
        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            # Here, not in a handler of the framework: those run outside, where the request id is gone.
            logger.exception("unexpected error")
            if answer.status:
                raise
            detail = "an error that should not happen; the log has it under the request id"
            document = problem(500, "unexpected", "Unexpected error", detail, request_id=identity)
            await document_response(document, scope)(scope, receive, send_with_headers)
        finally:
            self._metrics.in_flight.dec()
            self._record(scope, answer.status or CLIENT_LEFT, time.perf_counter() - start)
            request_id.reset(reset)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = getattr(scope.get("route"), "path", "unknown")
        self._metrics.requests.labels(method, route, str(status)).inc()
        self._metrics.request_seconds.labels(method, route).observe(seconds)
        level = logging.DEBUG if route in OPERATIONS else logging.INFO
        facts = {"method": method, "route": route, "status": status, "milliseconds": round(seconds * 1000, 1)}
        if client := scope.get("state", {}).get("key"):
            facts["client"] = client  # the name of its key, not its address
        logger.log(level, "request", extra=facts)
