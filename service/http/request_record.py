"""`RequestRecord`: counts, times and logs each request after it has been answered."""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.observability import CLIENT_LEFT, METHODS, OPERATIONS, Metrics

logger = logging.getLogger("service.access")


class RequestRecord:
    """Counts a request under its route's template, so that note ids do not become labels, and logs one line for it.

    Args:
        app: the application inside.
        metrics: the metrics that count it.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, start = CLIENT_LEFT, time.perf_counter()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._metrics.in_flight.inc()
        try:
            await self._app(scope, receive, watched)
        finally:
            self._metrics.in_flight.dec()
            self._record(scope, status, time.perf_counter() - start)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = getattr(scope.get("route"), "path_format", "unknown")
        self._metrics.requests.labels(method, route, str(status)).inc()
        self._metrics.request_seconds.labels(method, route).observe(seconds)
        level = logging.DEBUG if route in OPERATIONS else logging.INFO
        facts = {"method": method, "route": route, "status": status, "milliseconds": round(seconds * 1000, 1)}
        if client := scope.get("state", {}).get("key"):
            facts["client"] = client  # the name of its key, not its address
        logger.log(level, "request", extra=facts)
