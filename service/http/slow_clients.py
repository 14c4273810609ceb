"""`SlowClientProtocol`: uvicorn's HTTP protocol, with time limits for clients that send or read too slowly.

uvicorn waits for ever for the rest of a head, for the rest of a body that was answered without reading it, and for a client that does
not read the answer. Such clients could hold every file descriptor. Once a head is complete, `RequestLifetime` limits the request.
"""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

# uvicorn's own limit, NOTELLM_KEEP_ALIVE_SECONDS, is for connections that are idle between requests.
HEAD_SECONDS = 10.0
# Time in which a client may read nothing of its answer.
UNREAD_SECONDS = 30.0


class SlowClientProtocol(H11Protocol):
    """One connection. A head must be complete `HEAD_SECONDS` after the connection opens or after the head's first byte.

    The rest of an unread body must arrive within `HEAD_SECONDS` after its answer.
    """

    _awaited: str | None = None
    _waiting: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - as uvicorn has it
        """See `asyncio.Protocol.connection_made`."""
        super().connection_made(transport)
        most, self.limit_concurrency = self.config.limit_concurrency, None  # uvicorn would answer 503, even to probes
        if most and len(self.connections) > most:
            self._make_room()
        transport.set_write_buffer_limits(high=0)  # so `pause_writing` is called for any unsent byte
        self._wait()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol.data_received`."""
        super().data_received(data)
        self._wait()

    def on_response_complete(self) -> None:
        """See `H11Protocol.on_response_complete`. Its own time limit ends with the next byte."""
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY:
            self._wait()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol.pause_writing`."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol.resume_writing`."""
        super().resume_writing()
        _cancel(self._unread)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol.connection_lost`."""
        _cancel(self._waiting)
        _cancel(self._unread)
        super().connection_lost(exc)

    def _make_room(self) -> None:
        """Closes a connection that is not waiting for an answer; closes this one if there is no such connection."""
        others = (other for other in self.connections if isinstance(other, SlowClientProtocol) and other is not self)
        idle = (other for other in others if other._missing() and not other.transport.is_closing())
        next(idle, self).transport.abort()

    def _missing(self) -> str | None:
        """Returns what the client has to send next; None while the service is answering."""
        if self.conn.their_state is h11.IDLE:
            return "head"
        return "body" if self.conn.their_state is h11.SEND_BODY and self.conn.our_state is h11.DONE else None

    def _wait(self) -> None:
        """Starts the timer for the part that is missing now, unless it is running already."""
        missing = self._missing()
        if missing != self._awaited:
            _cancel(self._waiting)
            self._awaited = missing
            self._waiting = self.loop.call_later(HEAD_SECONDS, self.transport.close) if missing else None

    def _watch_reader(self) -> None:
        unread = self.transport.get_write_buffer_size()
        self._unread = self.loop.call_later(UNREAD_SECONDS, self._check_reader, unread)

    def _check_reader(self, before: int) -> None:
        if self.transport.get_write_buffer_size() < before:
            self._watch_reader()
        else:
            self.transport.abort()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
