"""`Caller`: who sends a request, its priority and its deadline. Read from the request once and used by every queue."""

import asyncio
import math
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Network, ip_address
from typing import Self

from starlette.types import Scope

MAX_TIMEOUT_SECONDS = 3600


def _charge_nobody(tokens: int) -> None:
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
        unasked: whether this is the service's own background work: a refusal is not counted as a refused request.
    """

    client: str = ""
    priority: Priority = Priority.INTERACTIVE
    deadline: float = math.inf
    charge: Callable[[int], None] = _charge_nobody
    unasked: bool = False

    @classmethod
    def of(
        cls,
        headers: Mapping[bytes, bytes],
        client: str,
        default_timeout: float,
        charge: Callable[[int], None] | None = None,
    ) -> Self:
        """Reads `X-Request-Timeout` and `X-Priority`. Ignores invalid values: the routes refuse them."""
        try:
            timeout = float(headers[b"x-request-timeout"])
        except (KeyError, ValueError):
            timeout = default_timeout
        if not 0 < timeout <= MAX_TIMEOUT_SECONDS:
            timeout = default_timeout
        bulk = headers.get(b"x-priority") == Priority.BULK.encode()
        deadline = asyncio.get_running_loop().time() + timeout
        return cls(client, Priority.BULK if bulk else Priority.INTERACTIVE, deadline, charge or _charge_nobody)

    def seconds_left(self) -> float:
        """Time until the deadline; negative after it."""
        return self.deadline - asyncio.get_running_loop().time()


def client_address(scope: Scope) -> str:
    """Returns the address of a request's client. For IPv6 it is the /64 network, since a client may use any address in it."""
    host = str((scope.get("client") or ("",))[0])
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv4Address):
        return host
    # Proxies that listen on both protocols write IPv4 clients as `::ffff:192.0.2.1`. All of these share one /64 network.
    return str(address.ipv4_mapped or IPv6Network((int(address), 64), strict=False))


def beside(asking: Caller) -> Caller:
    """Returns the same caller for extra work of the service's own: not charged, and a refusal is not counted."""
    return replace(asking, charge=_charge_nobody, unasked=True)


caller: ContextVar[Caller] = ContextVar("caller", default=Caller())  # noqa: B039 - frozen
