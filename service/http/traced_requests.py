"""`TracedRequests`: ASGI middleware that makes a span for each request."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.observability import OPERATIONS
from service.observability.tracing import RequestTracing


class TracedRequests:
    """Opens a span for each request except probes and scrapes, which would outnumber all others.

    Args:
        app: the application inside.
        tracing: makes the spans.
    """

    def __init__(self, app: ASGIApp, tracing: RequestTracing) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http" or scope["path"] in OPERATIONS:
            await self._app(scope, receive, send)
            return
        with self._tracing.request(scope) as answer:

            async def watched(message: Message) -> None:
                if message["type"] == "http.response.start":
                    answer.status = message["status"]
                await send(message)

            await self._app(scope, receive, watched)
