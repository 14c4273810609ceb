"""`connect`: makes the client of a Qdrant server. It uses gRPC, with TLS if the address is https."""

import warnings
from dataclasses import dataclass
from pathlib import Path

from qdrant_client import AsyncQdrantClient

from service.errors import StartupError

# These options notice within seconds that a server is back, and that a connection is dead (a lost node, a router that forgot it). By
# default, gRPC takes up to two minutes for the former, and the kernel a quarter of an hour for the latter. Pings are also sent between
# calls. `ping_timeout` is needed as well, because gRPC sends no keepalive ping, and does not time one, while a ping of its own is pending.
_CHANNEL = {
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.min_reconnect_backoff_ms": 3_000,
    "grpc.max_reconnect_backoff_ms": 2_000,
    "grpc.keepalive_time_ms": 5_000,
    "grpc.keepalive_timeout_ms": 3_000,
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.http2.max_pings_without_data": 0,
    "grpc.http2.ping_timeout_ms": 3_000,
}


@dataclass(frozen=True)
class ServerAddress:
    """The address of a server, and how to connect to it.

    Attributes:
        url: `http://host:6333`, or https for TLS.
        grpc_port: the port for all calls.
        api_key: sent with every call; None if the server needs no key.
        ca_file: certificates (PEM) to trust instead of the public authorities that gRPC trusts by default.
    """

    url: str
    grpc_port: int = 6334
    api_key: str | None = None
    ca_file: Path | None = None


def connect(address: ServerAddress, timeout_seconds: int) -> AsyncQdrantClient:
    """Returns a client, which connects when it is first used.

    Raises:
        StartupError: the certificates cannot be read.
    """
    options: dict[str, object] = dict(_CHANNEL)
    if address.ca_file is not None:
        try:
            options["root_certificates"] = address.ca_file.read_bytes()
        except OSError as error:
            raise StartupError(f"NOTELLM_QDRANT_CA_FILE: {address.ca_file} cannot be read: {error}") from error
    with warnings.catch_warnings():
        # `Settings` has already checked keys without TLS, and refuses them where they are unsafe.
        warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
        return AsyncQdrantClient(
            url=address.url,
            api_key=address.api_key,
            prefer_grpc=True,
            grpc_port=address.grpc_port,
            grpc_options=options,
            timeout=timeout_seconds,
            check_compatibility=False,  # the check uses REST in a thread; `prepare` checks the version instead
        )
