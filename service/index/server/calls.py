"""`ServerCalls`: calls to a Qdrant server, with retries, a time limit and a circuit breaker."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, stop_before_delay, wait_random_exponential

from service.breaker import CircuitBreaker
from service.caller import caller
from service.errors import IndexUnavailable
from service.index.base import CHANGED

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
Call = Callable[[], Awaitable[Result]]

ATTEMPTS = 3
LONGEST_PAUSE_SECONDS = 1.0
# After this many failures in a row, calls are refused for this many seconds.
FAILURES, REST_SECONDS = 5, 2.0
# The server is down, overloaded or failing, and a retry may succeed. Any other code means that the server refuses the call.
_PASSING = {
    grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.ABORTED, grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN, grpc.StatusCode.RESOURCE_EXHAUSTED,
}  # fmt: skip
# Part of the server's message for a name of vectors that the collection does not have.
_NO_NAME = "not existing vector name"
# Messages with these codes are about the network or keys. With other codes, the message may quote the call, which contains notes.
_QUOTES_NOTHING = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}


class NoAnswer(IndexUnavailable):
    """The server did not answer, or failed: a retry may succeed. If the server refuses a call, the error is a plain `IndexUnavailable`."""


class VectorsGone(IndexUnavailable):
    """The collection has no vectors of this name: another replica has ended a migration and dropped them."""

    def __init__(self) -> None:
        super().__init__(CHANGED, 1)


class ServerCalls:
    """Makes calls. All calls share a circuit breaker.

    Args:
        timeout_seconds: the time limit of a call, for all of its attempts together.
    """

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._breaker = CircuitBreaker("the Qdrant server", NoAnswer, failures=FAILURES, pause_seconds=REST_SECONDS, clock=_now)

    async def repeatable(self, call: Call[Result]) -> Result:
        """Makes a call up to three times, with random pauses, as long as the request's time allows.

        Raises:
            IndexUnavailable: the server does not answer, or refuses.
        """
        left = min(self._timeout_seconds, caller.get().seconds_left())
        attempts = AsyncRetrying(
            stop=stop_after_attempt(ATTEMPTS) | stop_before_delay(left),
            wait=wait_random_exponential(multiplier=0.1, max=LONGEST_PAUSE_SECONDS),
            retry=retry_if_exception_type(NoAnswer),
            reraise=True,
        )
        return await self._bounded(lambda: attempts(_translated, call))

    async def once(self, call: Call[Result]) -> Result:
        """Makes a call once. For calls that must not be repeated: the server may have done them even if no answer came.

        Raises:
            IndexUnavailable: the server does not answer, or refuses.
        """
        return await self._bounded(lambda: _translated(call))

    @property
    def left_alone(self) -> bool:
        """Whether calls are refused at once because of earlier failures. This ends when a call succeeds."""
        return self._breaker.open

    async def _bounded(self, call: Call[Result]) -> Result:
        with self._breaker.call():
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    return await call()
            except TimeoutError as error:
                raise NoAnswer(f"the Qdrant server has not answered within {self._timeout_seconds:g} s") from error


def _now() -> float:
    """Returns the seconds of the event loop's clock, which also limits the calls."""
    return asyncio.get_running_loop().time()


async def _translated(call: Call[Result]) -> Result:
    """Makes a call, and turns the client's errors into `IndexUnavailable`."""
    try:
        return await call()
    except ResourceExhaustedResponse as error:  # a rate limit of strict mode: the server is healthy, and says when to retry
        raise IndexUnavailable("the Qdrant server is limiting the rate of requests", error.retry_after_s) from error
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.INVALID_ARGUMENT and _NO_NAME in (error.details() or "").lower():
            raise VectorsGone from error
        # Addresses and other details go to the log, not to clients.
        logger.warning("the Qdrant server failed", extra={"code": error.code().name, "reason": _without_quotes(error)})
        if error.code() in _PASSING:
            raise NoAnswer(f"the Qdrant server does not answer ({error.code().name})") from error
        raise IndexUnavailable(f"the Qdrant server refuses ({error.code().name}): its own log has the reason") from error


def reason(error: BaseException | None) -> str:
    """Returns the message of the server or the network in one line; an empty text if there is none."""
    text = error.details() if isinstance(error, grpc.aio.AioRpcError) else ""
    return " ".join((text or "").split())[:300]


def _without_quotes(error: grpc.aio.AioRpcError) -> str:
    """Returns the start of an error message that cannot contain a note: for `Wrong input: cannot read "…"`, it is `Wrong input`."""
    return reason(error) if error.code() in _QUOTES_NOTHING else re.split(r"[:;,\"'`(\[{]", reason(error), maxsplit=1)[0][:60]
