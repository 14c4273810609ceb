"""`RequestPath`: the path of a request as the routes know it, however a proxy or a client has written it."""

import re

from starlette.types import ASGIApp, Receive, Scope, Send

_SLASHES = re.compile("//+")
# A client that takes the service for its proxy sends the whole address, which servers must accept (RFC 9112, 3.2.2).
_ORIGIN = re.compile("https?://[^/]*")


class RequestPath:
    """Removes the prefix behind which the service lives, doubled slashes and a slash at the end.

    A proxy may remove the prefix or leave it, and probes come without it, so each path works with the prefix and without it. Clients
    write `/v1//embeddings` or `/notes/embed/` if both halves of an address, or neither, have a slash: the same route answers. A
    redirect would lose the body in some clients, and would lead out of the TLS proxy if it named the scheme that the service sees.

    Args:
        app: the application inside.
        root_path: the prefix without a slash at its end, such as `/notellm`; empty if there is none.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] == "http":
            scope = {**scope, "path": route_path(scope["path"], self._root_path)}
        await self._app(scope, receive, send)


def route_path(path: str, root_path: str) -> str:
    """Returns the path by which a route is found: `/notellm/notes/embed/` is `/notes/embed` with the prefix `/notellm`."""
    if absolute := _ORIGIN.match(path):
        path = path[absolute.end() :]
    path = _SLASHES.sub("/", path)
    if path == root_path or path.startswith(f"{root_path}/"):
        path = path[len(root_path) :]
    return path.rstrip("/") or "/"
