"""`ServerCalls`: how a Qdrant server is asked: patiently, for a limited time, and not at all while it is away."""

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

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
Call = Callable[[], Awaitable[Result]]

ATTEMPTS = 3
LONGEST_PAUSE_SECONDS = 1.0
# Failures in a row after which the server is left alone, and for how long.
FAILURES, REST_SECONDS = 5, 2.0
# The server is away, too busy or failing, and another try may be answered. With any other code it has understood and refuses.
_PASSING = {
    grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.ABORTED, grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN, grpc.StatusCode.RESOURCE_EXHAUSTED,
}  # fmt: skip
# What is said with these is about the network, or about keys. With others the server may quote what it was sent: a note.
_QUOTES_NOTHING = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}


class NoAnswer(IndexUnavailable):
    """The server did not answer, or failed: another try may be answered. Refusals are plain `IndexUnavailable`."""


class ServerCalls:
    """All calls share a circuit breaker; each has so many seconds for all of its attempts.

    Args:
        timeout_seconds: longest wait for an answer.
    """

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._breaker = CircuitBreaker("the Qdrant server", NoAnswer, failures=FAILURES, pause_seconds=REST_SECONDS, clock=_now)

    async def repeatable(self, call: Call[Result]) -> Result:
        """Asks up to three times, with random pauses, as far as they fit into the time of the request.

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
        """Asks once: for calls that may have been done although no answer came, and must not be done a second time.

        Raises:
            IndexUnavailable: the server does not answer, or refuses.
        """
        return await self._bounded(lambda: _translated(call))

    @property
    def left_alone(self) -> bool:
        """Whether calls are refused at once after failures; it stays so until one is answered."""
        return self._breaker.open

    async def _bounded(self, call: Call[Result]) -> Result:
        with self._breaker.call():
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    return await call()
            except TimeoutError as error:
                raise NoAnswer(f"the Qdrant server has not answered within {self._timeout_seconds:g} s") from error


def _now() -> float:
    """Seconds by the clock of the event loop, by which calls are limited too."""
    return asyncio.get_running_loop().time()


async def _translated(call: Call[Result]) -> Result:
    """Turns what the client raises when the server is away or refuses into `IndexUnavailable`."""
    try:
        return await call()
    except ResourceExhaustedResponse as error:  # a limit of its strict mode: it is well, and says when to come back
        raise IndexUnavailable("the Qdrant server limits how often it is asked", error.retry_after_s) from error
    except grpc.aio.AioRpcError as error:
        # Addresses and the like are for the log, not for clients.
        logger.warning("the Qdrant server failed", extra={"code": error.code().name, "reason": _without_quotes(error)})
        if error.code() in _PASSING:
            raise NoAnswer(f"the Qdrant server does not answer ({error.code().name})") from error
        raise IndexUnavailable(f"the Qdrant server refuses ({error.code().name}): its own log has the reason") from error


def reason(error: BaseException | None) -> str:
    """What a server or the network has said, in one line; nothing where they have not."""
    text = error.details() if isinstance(error, grpc.aio.AioRpcError) else ""
    return " ".join((text or "").split())[:300]


def _without_quotes(error: grpc.aio.AioRpcError) -> str:
    """The kind of an error, as far as nothing that was sent can stand in it: `Wrong input`, of `Wrong input: cannot read "…"`."""
    return reason(error) if error.code() in _QUOTES_NOTHING else re.split(r"[:;,\"'`(\[{]", reason(error), maxsplit=1)[0][:60]
