"""`PromptHeads`: uvicorn's HTTP protocol, but a connection whose request does not begin in time is closed.

uvicorn waits for ever for the rest of a head, so that a stranger with nothing but patience could hold every file descriptor. Of a
complete head, `RequestLifetime` bounds the rest.
"""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

# uvicorn's own limit, of five seconds, is for connections that are kept between requests and send nothing.
HEAD_SECONDS = 10.0


class PromptHeads(H11Protocol):
    """One connection. A head has `HEAD_SECONDS`, from the connection or from its first byte."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - as uvicorn has it
        """See `asyncio.Protocol.connection_made`."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol.data_received`."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._wait()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol.connection_lost`."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._waiting is None:
            self._waiting = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
