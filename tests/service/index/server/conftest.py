"""A client of the server that is made up, and an index over it."""

from collections.abc import AsyncIterator

import pytest
from qdrant_client import AsyncQdrantClient

from service.index import ServerIndex
from service.index.server.connection import ServerAddress, connect
from tests.qdrant import QdrantStandIn
from tests.service.index.server.asking import open_index


@pytest.fixture
async def client(stand_in: QdrantStandIn) -> AsyncIterator[AsyncQdrantClient]:
    connected = connect(ServerAddress("http://127.0.0.1", stand_in.port), 5)
    yield connected
    await connected.close()


@pytest.fixture
async def index(client: AsyncQdrantClient) -> ServerIndex:
    return await open_index(client)
