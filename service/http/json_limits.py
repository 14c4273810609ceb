"""`JsonLimits`: limits how deeply a body is nested and how many values it has, before it is parsed.

A parser makes an object for every bracket: 4 MiB of brackets become a hundred megabytes. This module counts the objects without
making them, with `bytes` methods that run in C.
"""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTooLarge, InvalidRequest, ServiceError, UnreadableBody
from service.http.problems import NOT_JSON, problem_response

# A request with 256 notes of 100 hashtags each has a depth of 4 and 28,000 values.
MAX_DEPTH = 16
MAX_VALUES = 100_000
METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_TEXT = bytes(set(range(256)) - set(b'"[]{},'))


def check_json(body: bytes) -> None:
    """Refuses a body that no valid request has.

    Raises:
        InvalidRequest: the body is nested too deeply or has too many values.
        UnreadableBody: the body is not UTF-8, so brackets and values cannot be counted.
    """
    if b"\0" in body:
        raise UnreadableBody(NOT_JSON)
    openings = body.count(b"[") + body.count(b"{")
    if openings <= MAX_DEPTH and body.count(b",") + openings <= MAX_VALUES:
        return
    # Strip each string to its quotes and to characters that look like structure. Two adjacent quotes are then an empty string, or the
    # end of one string and the start of the next. Without such pairs, the other quotes still separate inside from outside.
    quoted = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _TEXT).replace(b'""', b"")
    if quoted.count(b'"') <= 4 * MAX_VALUES:  # two quotes for a key, two for its value
        structure = b"".join(quoted.split(b'"')[::2])
        brackets = structure.replace(b",", b"")
        if structure.count(b",") + brackets.count(b"[") + brackets.count(b"{") <= MAX_VALUES:
            if _depth(brackets[: 2 * MAX_VALUES]) > MAX_DEPTH:
                raise InvalidRequest.of("body", "too_deep", f"at most {MAX_DEPTH} levels of nested arrays and objects")
            return
    raise InvalidRequest.of("body", "too_many_values", f"at most {MAX_VALUES:,} values")


def _depth(brackets: bytes) -> int:
    depth = deepest = 0
    for bracket in brackets:
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


class JsonLimits:
    """Reads the body as the framework would, and answers 400 or 422 if it breaks a limit.

    Args:
        app: the application inside. A middleware outside this one must limit the size of the body.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http" or scope["method"] not in METHODS_WITH_BODY:
            await self._app(scope, receive, send)
            return
        try:
            body = await _read(receive)
            if body is None:
                return
            check_json(body)
        except ServiceError as error:
            await problem_response(error, scope)(scope, receive, send)
        except HTTPException as error:  # raised by `BodyLimit`, meant for the framework
            await problem_response(BodyTooLarge(error.detail), scope)(scope, receive, send)
        else:
            await self._app(scope, _replay(body, receive), send)


async def _read(receive: Receive) -> bytes | None:
    """Reads the whole body; None if the client has left."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
