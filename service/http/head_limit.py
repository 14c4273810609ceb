"""`HeadLimit`: answers 431 to a request whose line and headers are too long.

uvicorn limits only a head that is still incomplete: it accepts a longer one that arrives in one piece.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import HeadTooLarge
from service.http.problems import problem_response

MAX_HEAD_BYTES = 16 * 1024


class HeadLimit:
    """Counts the bytes of a request's head and refuses too many.

    Args:
        app: the application inside.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] == "http" and _head_bytes(scope) > MAX_HEAD_BYTES:
            error = HeadTooLarge(f"the request's line and headers have more than {MAX_HEAD_BYTES:,} bytes: send fewer")
            await problem_response(error, scope)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _head_bytes(scope: Scope) -> int:
    target = len(scope.get("raw_path") or scope["path"]) + len(scope["query_string"])
    return target + sum(len(name) + len(value) for name, value in scope["headers"])
