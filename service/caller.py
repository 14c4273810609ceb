"""`Caller`: who asks, how urgently, and until when. Read from the request once, used by every queue on its way."""

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


def _free(tokens: int) -> None:
    """Charges nobody."""


class Priority(StrEnum):
    """Interactive work goes first; bulk work gets what is left, and never nothing."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Attributes:
        client: among clients, queues are fair.
        priority: of the request.
        deadline: on the event loop's clock; after it nobody waits for an answer.
        charge: is told how many tokens were queued.
        unasked: whether the service works on its own account: what a queue refuses it is no request.
    """

    client: str = ""
    priority: Priority = Priority.INTERACTIVE
    deadline: float = math.inf
    charge: Callable[[int], None] = _free
    unasked: bool = False

    @classmethod
    def of(
        cls,
        headers: Mapping[bytes, bytes],
        client: str,
        default_timeout: float,
        charge: Callable[[int], None] | None = None,
    ) -> Self:
        """Reads `X-Request-Timeout` and `X-Priority`. Wrong values count as not there: the routes refuse them."""
        try:
            timeout = float(headers[b"x-request-timeout"])
        except (KeyError, ValueError):
            timeout = default_timeout
        if not 0 < timeout <= MAX_TIMEOUT_SECONDS:
            timeout = default_timeout
        bulk = headers.get(b"x-priority") == Priority.BULK.encode()
        deadline = asyncio.get_running_loop().time() + timeout
        return cls(client, Priority.BULK if bulk else Priority.INTERACTIVE, deadline, charge or _free)

    def seconds_left(self) -> float:
        """Time until the deadline; negative after it."""
        return self.deadline - asyncio.get_running_loop().time()


def client_address(scope: Scope) -> str:
    """Of a request's client; of an IPv6 one its /64 network, since a client has as many addresses there as it likes."""
    host = str((scope.get("client") or ("",))[0])
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv4Address):
        return host
    # Proxies that listen on both write IPv4 clients so (`::ffff:192.0.2.1`), and all of them are one /64.
    return str(address.ipv4_mapped or IPv6Network((int(address), 64), strict=False))


def beside(asking: Caller) -> Caller:
    """The same caller for work that the service does for itself on the way."""
    return replace(asking, charge=_free, unasked=True)


caller: ContextVar[Caller] = ContextVar("caller", default=Caller())  # noqa: B039 - frozen
