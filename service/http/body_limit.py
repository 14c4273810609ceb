"""`BodyLimit`: refuses a body that is too large, and bodies that are too large in total, before they are parsed."""

from dataclasses import dataclass
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTooLarge, QueueFull
from service.http.problems import problem_response

BODIES_AT_ONCE = 64


@dataclass
class _Read:
    bytes: int = 0


class BodyLimit:
    """Answers 413 to a body over the limit: because of its declared length, or as soon as too many bytes have arrived.

    All requests in progress together may hold as many bytes as `BODIES_AT_ONCE` bodies of the largest size; beyond that, a request
    is answered with 429.

    Args:
        app: the application inside.
        max_bytes: the limit for one body.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._held = 0
        self._detail = f"the body has more than {max_bytes:,} bytes: send fewer notes at a time"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > self._max_bytes:
            await self._refuse(scope, receive, send)
            return
        read = _Read()
        try:
            await self._app(scope, self._counted(receive, read), send)
        finally:
            self._held -= read.bytes

    def _counted(self, receive: Receive, read: "_Read") -> Receive:
        async def counted() -> Message:
            message = await receive()
            more = len(message.get("body", b""))
            read.bytes += more
            self._held += more
            if self._held > BODIES_AT_ONCE * self._max_bytes:
                raise QueueFull("the bodies of the requests in progress fill the memory set aside for them", 1)
            if read.bytes > self._max_bytes:
                # The framework passes this type through while it reads the body; any other would become a 400.
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._detail)
            return message

        return counted

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        await problem_response(BodyTooLarge(self._detail), scope)(scope, receive, send)
