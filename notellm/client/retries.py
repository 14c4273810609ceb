"""When a call is repeated, and for how long: the same for both clients."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
from tenacity import RetryCallState, retry_if_exception_type, stop_before_delay, wait_exponential_jitter

from notellm.client.calls import Call
from notellm.client.problems import Busy, ClientError, DeadlineMissed, NotTheService, ServiceProblem, Unreachable
from notellm.client.refusals import read_refusal

AnswerT = TypeVar("AnswerT")
# The service answers 504 at the deadline that it was told. The connection waits a little longer, to hear that.
MARGIN_SECONDS = 5.0
_MOST_SECONDS = 3600  # of X-Request-Timeout
_LEAST_SECONDS = 0.1
_LONGEST_SECONDS = 1e6  # the operating system takes no longer time
_backoff = wait_exponential_jitter(multiplier=0.25, max=30)


@dataclass(frozen=True)
class Trying:
    """The tries of one call.

    Attributes:
        call: the call.
        seconds: how long the caller waits, with all tries and pauses.
        headers: sent with each try.
        address: of the service.
        patience: seconds after the first try in which the next may begin; None for `seconds`.
        started: when the first try began.
    """

    call: Call[Any]
    seconds: float
    headers: Mapping[str, str]
    address: str
    patience: float | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def policy(self) -> dict[str, Any]:
        """For tenacity. Only `Busy` and `Unreachable` are tried again, and only if there is time for the pause before it."""
        return {
            "retry": retry_if_exception_type((Busy, Unreachable)),
            "wait": _pause,
            "stop": stop_before_delay(self.seconds if self.patience is None else self.patience),
            "reraise": True,
        }

    def request(self) -> dict[str, Any]:
        """What httpx needs for the next try, which has the time that is left.

        Raises:
            DeadlineMissed: no time is left.
        """
        left = self.seconds - (time.monotonic() - self.started)
        if not left >= _LEAST_SECONDS:  # also true of a time that is not a number
            raise self.missed()
        told = {"X-Request-Timeout": f"{min(left, _MOST_SECONDS):.3f}"}
        query = {name: value for name, value in self.call.query.items() if value is not None}
        body = {} if self.call.body is None else {"json": self.call.body}
        return {
            "method": self.call.method, "url": self.address + self.call.path, "params": query, "headers": {**self.headers, **told},
            "timeout": min(left + MARGIN_SECONDS, _LONGEST_SECONDS), **body,
        }  # fmt: skip

    def missed(self) -> DeadlineMissed:
        """The error for no answer in time."""
        return DeadlineMissed(
            f"no answer to {self.call.method} {self.call.path} within {self.seconds:g} seconds: allow more, or send less"
        )

    def failed(self, error: Exception) -> ClientError:
        """The error for a try without an answer: httpx's, or that of a request that cannot be written."""
        if isinstance(error, TimeoutError | httpx.ReadTimeout | httpx.WriteTimeout | httpx.PoolTimeout):
            return self.missed()
        if isinstance(error, httpx.LocalProtocolError | ValueError | TypeError):  # such as a line break in the API key
            return ClientError(f"the request cannot be sent: {error}")
        if not isinstance(error, httpx.TransportError):
            return NotTheService(f"{self.address} does not answer like notellm-serve: {error}")
        return Unreachable(f"{self.address} does not answer ({error or type(error).__name__})")

    def read(self, response: httpx.Response) -> Any:  # noqa: ANN401
        """The result.

        Raises:
            ServiceProblem: the service refuses.
            NotTheService: something else answers at the address.
        """
        if not response.is_success:
            raise read_refusal(response.status_code, _content(response), response.headers.get("retry-after"))
        if not response.content:
            return self.call.read(None)
        try:
            return self.call.read(response.json())
        except (ValueError, KeyError, TypeError) as error:  # pydantic's errors are ValueErrors
            raise NotTheService(f"{response.url} does not answer like notellm-serve: {error}") from error


def _content(response: httpx.Response) -> Any:  # noqa: ANN401
    try:
        return response.json()
    except ValueError:
        return response.text


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    told = error.retry_after if isinstance(error, ServiceProblem) else None
    return told if told is not None else _backoff(state)
