"""How the tests of a server's index open it, and let the server fail."""

import grpc
from qdrant_client import AsyncQdrantClient

from service.index import ServerIndex
from tests.qdrant import QdrantStandIn
from tests.service.index.backends import DIMENSIONS


async def open_index(client: AsyncQdrantClient, **options: object) -> ServerIndex:
    return await ServerIndex.open(client, collection="notes", vector_name="m-1", dimensions=DIMENSIONS, **options)  # type: ignore[arg-type]


def failing(stand_in: QdrantStandIn, name: str, code: grpc.StatusCode, times: int = 1000) -> None:
    """Lets so many calls of a name fail."""
    left = times

    def fault(called: str, _request: object) -> tuple[grpc.StatusCode, str] | None:
        nonlocal left
        if called != name or not left:
            return None
        left -= 1
        return code, "as the test wants it"

    stand_in.fault = fault
