"""`HeadRequests`: answers HEAD wherever GET is answered, with the same status and headers and without the body.

Probes, monitors and link checkers ask with HEAD. Routes list GET only, so the OpenAPI description has each call once.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadRequests:
    """Passes a HEAD on as a GET, and leaves the body out of the answer.

    Args:
        app: the application inside.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        as_get = {**scope, "method": "GET"}
        try:
            await self._app(as_get, receive, send_head)
        finally:
            # The layers outside count and log the request under its route and its client, which the layers inside find out.
            scope.update(as_get | {"method": "HEAD"})
