"""`connect`: the client of a Qdrant server, by gRPC, with TLS where the address says https."""

import warnings
from dataclasses import dataclass
from pathlib import Path

from qdrant_client import AsyncQdrantClient

from service.errors import StartupError

# A server that is back is found within seconds, and a connection that leads nowhere (a lost node, a forgetful router) is given up:
# left to themselves, gRPC waits two minutes for the one and the kernel a quarter of an hour for the other. Pings go between calls, too,
# and any ping counts: a keepalive ping is not sent, nor its time counted, while one of gRPC's own is under way.
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
    """Where a server is and how to speak to it.

    Attributes:
        url: `http://host:6333`, or https for TLS.
        grpc_port: all calls go there.
        api_key: sent with every call.
        ca_file: certificates (PEM) to trust instead of those of public authorities, which gRPC brings along.
    """

    url: str
    grpc_port: int = 6334
    api_key: str | None = None
    ca_file: Path | None = None


def connect(address: ServerAddress, timeout_seconds: int) -> AsyncQdrantClient:
    """A client; it connects when it is first used.

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
        # `Settings` has decided about keys without TLS, and refuses where it should.
        warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
        return AsyncQdrantClient(
            url=address.url,
            api_key=address.api_key,
            prefer_grpc=True,
            grpc_port=address.grpc_port,
            grpc_options=options,
            timeout=timeout_seconds,
            check_compatibility=False,  # by REST, in a thread; `prepare` checks what matters
        )
