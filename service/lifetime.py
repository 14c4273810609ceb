"""`RequestLifetime`: ends a request at its deadline and when its client leaves, so that nothing is computed for nobody."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.caller import Caller, caller
from service.errors import DeadlineExceeded
from service.middleware import problem_response


class RequestLifetime:
    """Says for whom a request is (`caller`), and cancels it when its time is over (504) or its client is gone.

    What of its work waits in a queue leaves it at once; what has reached the model or the index is finished.

    Args:
        app: the application inside.
        timeout_seconds: of a request without `X-Request-Timeout`.
    """

    def __init__(self, app: ASGIApp, timeout_seconds: float) -> None:
        self._app = app
        self._timeout_seconds = timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client = (scope.get("client") or ("",))[0]
        asking = Caller.of(dict(scope["headers"]), client, self._timeout_seconds)
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

        async with _open_inbox(receive) as inbox:
            handling = asyncio.ensure_future(self._app(scope, inbox.receive, watched))
            leaving = asyncio.create_task(inbox.left.wait())
            try:
                await asyncio.wait({handling, leaving}, timeout=asking.seconds_left(), return_when=asyncio.FIRST_COMPLETED)
                if handling.done() or answering:
                    await handling
                    return
            finally:
                leaving.cancel()
                handling.cancel()  # where it is not done: our own task may have been cancelled, too
            await asyncio.wait({handling})
            if not handling.cancelled():
                handling.result()
        if not answering and not inbox.left.is_set():
            late = DeadlineExceeded(
                "the time of the request was over before its answer was there: allow more by the header X-Request-Timeout "
                "(seconds), or send less at a time"
            )
            await problem_response(late, scope)(scope, receive, send)


class _Inbox:
    """What the server has received, read ahead by one message: only so is it known that the client has left."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[Message] = asyncio.Queue(maxsize=1)
        self.left = asyncio.Event()

    async def fill(self, receive: Receive) -> None:
        """Reads until the client leaves."""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left.set()
            await self._messages.put(message)
            if self.left.is_set():
                return

    async def receive(self) -> Message:
        """The next message, for the application."""
        return await self._messages.get()


@asynccontextmanager
async def _open_inbox(receive: Receive) -> AsyncIterator[_Inbox]:
    inbox = _Inbox()
    filling = asyncio.create_task(inbox.fill(receive))
    try:
        yield inbox
    finally:
        filling.cancel()
