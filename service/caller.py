"""`Caller`: who sends a request, its priority and its deadline. Set once per request and used by every queue."""

import asyncio
import math
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from enum import StrEnum

MAX_TIMEOUT_SECONDS = 3600
MORE_TIME = "allow more with the header X-Request-Timeout (seconds), or send less at a time"
"""What a client can do whose request misses its deadline."""


def charge_nobody(tokens: int) -> None:
    """Charges nobody."""


class Priority(StrEnum):
    """Interactive work goes first; bulk work gets the rest, but always makes some progress."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


@dataclass(frozen=True)
class Caller:
    """The sender of a request.

    Attributes:
        client: the client's name or address; queues share the capacity fairly between clients.
        priority: the request's priority.
        deadline: a time on the event loop's clock; after it nobody waits for an answer.
        charge: called with the number of tokens that were queued.
        background: whether this is the service's own background work, for which a refusal is not counted as a refused request.
    """

    client: str = ""
    priority: Priority = Priority.INTERACTIVE
    deadline: float = math.inf
    charge: Callable[[int], None] = charge_nobody
    background: bool = False

    def seconds_left(self) -> float:
        """Time until the deadline; negative after it."""
        return self.deadline - asyncio.get_running_loop().time()


def in_background(asking: Caller) -> Caller:
    """Returns the same caller for extra work of the service's own: not charged, and a refusal is not counted."""
    return replace(asking, charge=charge_nobody, background=True)


caller: ContextVar[Caller] = ContextVar("caller", default=Caller())  # noqa: B039 - frozen
