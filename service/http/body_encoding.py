"""`BodyEncoding`: unpacks bodies that were packed with gzip, and refuses those with any other `Content-Encoding`.

A small body can unpack to a thousand times its size. So it is unpacked piece by piece, and `BodyLimit` counts each piece and ends the
request where it would end that of a body that came unpacked.
"""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import UnsupportedEncoding
from service.http.gzip_stream import GzipStream
from service.http.json_limits import METHODS_WITH_BODY
from service.http.problems import problem_response

_GZIP = {"gzip", "x-gzip"}  # the second is an old name of the first (RFC 9110, 8.4.1.3)


class BodyEncoding:
    """Answers 415 to a body that is packed otherwise, and lets the layers inside receive the unpacked bytes.

    Args:
        app: the application inside. It must count and limit the bytes that it receives.
        max_bytes: the limit for a packed body, too: gzip of empty members has any length and unpacks to nothing.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        codings = _codings(scope["headers"]) if scope["type"] == "http" and scope["method"] in METHODS_WITH_BODY else []
        if not codings:
            await self._app(scope, receive, send)
        elif len(codings) > 1 or codings[0] not in _GZIP:
            await problem_response(UnsupportedEncoding.of(", ".join(codings)), scope)(scope, receive, send)
        else:
            async with aclosing(self._unpacked(receive)) as messages:

                async def unpacked() -> Message:
                    return await anext(messages, None) or await receive()

                await self._app(scope, unpacked, send)

    async def _unpacked(self, receive: Receive) -> AsyncGenerator[Message, None]:
        """The messages of a packed body, unpacked.

        Raises:
            UnreadableBody: the body is not gzip, or not all of it.
            HTTPException: 413, which the framework passes through while it reads the body.
        """
        stream, read, more = GzipStream(), 0, True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                yield message
                return
            packed = message.get("body", b"")
            read += len(packed)
            if read > self._max_bytes:
                raise HTTPException(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                    f"the packed body has more than {self._max_bytes:,} bytes: send fewer notes",
                )
            for piece in stream.unpack(packed):
                yield {"type": "http.request", "body": piece, "more_body": True}
            more = message.get("more_body", False)
        stream.check_end()
        yield {"type": "http.request", "body": b"", "more_body": False}


def _codings(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """Returns the codings of a body in the order in which they were applied, without `identity`, which changes nothing."""
    values = b",".join(value for name, value in headers if name == b"content-encoding").decode("latin-1")
    names = (name.strip().lower() for name in values.split(","))
    return [name for name in names if name not in {"", "identity"}]
