"""Orderly shutdown: `Drain` holds its state, `RefuseWhileDraining` refuses new requests, `DrainingServer` waits for accepted ones."""

import asyncio
import math
from types import FrameType

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import ShuttingDown
from service.http.problems import problem_response
from service.observability import OPERATIONS


class Drain:
    """Whether the process is shutting down, and how many requests it still has to answer."""

    def __init__(self) -> None:
        self.begun = False
        self.over = asyncio.Event()
        """Set when the server stops waiting for accepted requests."""
        self._requests = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def __enter__(self) -> None:
        self._requests += 1
        self._idle.clear()

    def __exit__(self, *_: object) -> None:
        self._requests -= 1
        if not self._requests:
            self._idle.set()

    async def finished(self) -> None:
        """Waits until every request is answered."""
        await self._idle.wait()


class RefuseWhileDraining:
    """Answers 503 to new requests once the drain has begun, and closes their connections. Health and metrics still answer.

    Args:
        app: the application inside.
        drain: shared with the server.
    """

    def __init__(self, app: ASGIApp, drain: Drain) -> None:
        self._app = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http" or scope["path"] in OPERATIONS:
            await self._app(scope, receive, send)
        elif self._drain.begun:
            refusal = ShuttingDown("the process is ending and takes no new work: send the request to another replica")
            await problem_response(refusal, scope)(scope, receive, send)
        else:
            with self._drain:
                await self._app(scope, receive, send)


class DrainingServer(uvicorn.Server):
    """A server that drains on the first SIGTERM or SIGINT and then ends. A second signal ends it at once.

    Args:
        config: `timeout_graceful_shutdown` bounds the drain.
        drain: shared with `RefuseWhileDraining`.
    """

    def __init__(self, config: uvicorn.Config, drain: Drain) -> None:
        super().__init__(config)
        self._drain = drain
        self._loop = asyncio.get_running_loop()
        self._ending: asyncio.Task[None] | None = None
        self._end_by = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """See `uvicorn.Server.handle_exit`; called when a signal arrives."""
        if self._drain.begun:
            self._end_now(sig, frame)
            return
        self._drain.begun = True
        self._end_by = self._loop.time() + (self.config.timeout_graceful_shutdown or 0)
        self._loop.call_soon_threadsafe(self._begin, sig, frame)

    def _begin(self, sig: int, frame: FrameType | None) -> None:
        self._ending = asyncio.create_task(self._end(sig, frame))

    async def _end(self, sig: int, frame: FrameType | None) -> None:
        try:
            await asyncio.wait_for(self._drain.finished(), self.config.timeout_graceful_shutdown)
        except TimeoutError:
            self._end_now(sig, frame)
        else:
            self._exit(sig, frame)

    def _end_now(self, sig: int, frame: FrameType | None) -> None:
        self._end_by = 0.0
        self._loop.call_soon_threadsafe(self._drain.over.set)
        self._exit(sig, frame)

    def _exit(self, sig: int, frame: FrameType | None) -> None:
        """Ends the server. uvicorn waits for connections again: it gets only the time that is left, but at least one second."""
        self.config.timeout_graceful_shutdown = max(1, math.ceil(self._end_by - self._loop.time()))
        super().handle_exit(sig, frame)
