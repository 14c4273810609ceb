"""Files of notes, and a client of the service in this process."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from service.bulk.client import ServiceClient
from service.http import create_app
from service.serving import Runtime, open_service
from service.settings import Settings


@pytest.fixture
def service(client: httpx.AsyncClient) -> ServiceClient:
    return ServiceClient(client, patience=5)


@pytest.fixture
async def other_runtime(settings_for: Callable[..., Settings], tmp_path: Path) -> AsyncIterator[Runtime]:
    """A service with the same model and another index."""
    async with open_service(settings_for(data_dir=tmp_path / "other")) as running:
        yield running


@pytest.fixture
async def other(other_runtime: Runtime, settings_for: Callable[..., Settings]) -> AsyncIterator[ServiceClient]:
    transport = httpx.ASGITransport(create_app(other_runtime, settings_for()), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as speaking:
        yield ServiceClient(speaking, patience=5)
