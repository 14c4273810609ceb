"""ASGI middleware: request id, metrics, access log, and the limit of the body, before anything is parsed."""

import logging
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import PROBLEM_JSON, BodyTooLarge, QueueFull, ServiceError, problem
from service.observability.metrics import Metrics
from service.observability.requests import CLIENT_LEFT, METHODS, OPERATIONS, request_id

API_VERSION = "1"
logger = logging.getLogger("service.access")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
BODIES_AT_ONCE = 64


def problem_response(error: ServiceError, scope: Scope) -> JSONResponse:
    """The error as the client gets it."""
    return document_response(error.problem(request_id.get()), scope, error.headers)


def document_response(document: dict[str, Any], scope: Scope, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """A problem document; under `/v1` it has OpenAI's `error` member too, which their clients show."""
    if scope["path"].startswith("/v1/"):
        errors = document.get("errors")
        error = {
            "message": document["detail"],
            "type": document["type"],
            "param": errors[0]["field"] if errors else None,
            "code": errors[0]["rule"] if errors else None,
        }
        document = document | {"error": error}
    return JSONResponse(document, status_code=document["status"], headers=dict(headers or {}), media_type=PROBLEM_JSON)


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


@dataclass
class _Read:
    bytes: int = 0


class BodyLimit:
    """Answers 413 to a body over the limit: by its declared length, or as soon as more bytes have come.

    Of the bodies of all requests that are being answered, `BODIES_AT_ONCE` of the largest size are kept: what comes then is a 429.

    Args:
        app: the application inside.
        max_bytes: the limit.
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
                raise QueueFull("the bodies of the requests that are being answered fill what may be kept of them", 1)
            if read.bytes > self._max_bytes:
                # The framework passes this type through while it reads the body; any other would become a 400.
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._detail)
            return message

        return counted

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        await problem_response(BodyTooLarge(self._detail), scope)(scope, receive, send)
