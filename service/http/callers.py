"""`read_caller` and `client_address`: who sends a request, read from its headers and its connection."""

import asyncio
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Network, ip_address

from starlette.types import Scope

from service.caller import MAX_TIMEOUT_SECONDS, Caller, Priority, charge_nobody


def read_caller(
    headers: Mapping[bytes, bytes], client: str, default_timeout: float, charge: Callable[[int], None] | None = None
) -> Caller:
    """Reads `X-Request-Timeout` and `X-Priority`. Ignores invalid values: the routes refuse them."""
    try:
        timeout = float(headers[b"x-request-timeout"])
    except (KeyError, ValueError):
        timeout = default_timeout
    if not 0 < timeout <= MAX_TIMEOUT_SECONDS:
        timeout = default_timeout
    bulk = headers.get(b"x-priority") == Priority.BULK.encode()
    deadline = asyncio.get_running_loop().time() + timeout
    return Caller(client, Priority.BULK if bulk else Priority.INTERACTIVE, deadline, charge or charge_nobody)


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
