"""`client_address`: among which clients, without keys, queues are fair and rates are counted."""

from ipaddress import IPv4Address, IPv6Network, ip_address

from starlette.types import Scope


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
