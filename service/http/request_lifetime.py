"""`RequestLifetime`: ends a request at its deadline or when its client leaves, because nobody would read the answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.caller import MORE_TIME, Caller, caller
from service.errors import DeadlineExceeded, ServiceError, ShuttingDown
from service.http.callers import client_address, read_caller
from service.http.draining import Drain
from service.http.problems import problem_response
from service.observability import OPERATIONS


class RequestLifetime:
    """Sets `caller` for a request, and cancels the request at its deadline (504) or when its client has left.

    Work that waits in a queue is removed at once; work that has reached the model or the index is finished.

    Args:
        app: the application inside.
        timeout_seconds: the time for a request without `X-Request-Timeout`.
        drain: when its time is over, requests are cancelled as well (503).
    """

    def __init__(self, app: ASGIApp, timeout_seconds: float, drain: Drain) -> None:
        self._app = app
        self._timeout_seconds = timeout_seconds
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http" or scope["path"] in OPERATIONS:  # a probe that hangs up must not stop its canary
            await self._app(scope, receive, send)
            return
        known = scope.get("state", {})
        client = known.get("key") or client_address(scope)
        asking = read_caller(dict(scope["headers"]), client, self._timeout_seconds, known.get("meter"))
        reset = caller.set(asking)
        try:
            await self._answer(asking, scope, receive, send)
        finally:
            caller.reset(reset)

    async def _answer(self, asking: Caller, scope: Scope, receive: Receive, send: Send) -> None:
        answering = False

        async def watched(message: Message) -> None:
            nonlocal answering
            answering = True
            await send(message)

        # With `Expect`, the client sends its body only when asked: reading ahead would ask for a body that may be refused.
        async with _open_inbox(receive, ahead=b"expect" not in dict(scope["headers"])) as inbox:
            handling = asyncio.ensure_future(self._app(scope, inbox.receive, watched))
            ends = [asyncio.create_task(event.wait()) for event in (inbox.left, self._drain.over)]
            try:
                await asyncio.wait({handling, *ends}, timeout=asking.seconds_left(), return_when=asyncio.FIRST_COMPLETED)
                if handling.done() or answering:
                    await handling
                    return
            finally:
                for end in ends:
                    end.cancel()
                handling.cancel()  # no effect if it is done; it is not if our own task was cancelled
                await asyncio.wait({handling})
            if not handling.cancelled():
                handling.result()
            gone = inbox.left.is_set()
        if not answering and not gone:
            await problem_response(self._reason(), scope)(scope, receive, send)

    def _reason(self) -> ServiceError:
        if self._drain.over.is_set():
            return ShuttingDown("the process ended before the answer was ready: send the request to another replica")
        return DeadlineExceeded(f"the request's time ran out before its answer was ready: {MORE_TIME}")


class _Inbox:
    """The messages that the server has received, read one ahead: without reading, nobody notices that the client has left."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._messages: asyncio.Queue[Message] = asyncio.Queue(maxsize=1)
        self._filling: asyncio.Task[None] | None = None
        self.left = asyncio.Event()

    def open(self) -> None:
        """Starts reading."""
        self._filling = self._filling or asyncio.create_task(self._fill())

    def close(self) -> None:
        """Stops reading."""
        if self._filling:
            self._filling.cancel()

    async def receive(self) -> Message:
        """Returns the next message to the application."""
        self.open()
        return await self._messages.get()

    async def _fill(self) -> None:
        while not self.left.is_set():
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.left.set()
            await self._messages.put(message)


@asynccontextmanager
async def _open_inbox(receive: Receive, *, ahead: bool) -> AsyncIterator[_Inbox]:
    inbox = _Inbox(receive)
    if ahead:
        inbox.open()
    try:
        yield inbox
    finally:
        inbox.close()
