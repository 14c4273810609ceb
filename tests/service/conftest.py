"""Fixtures of several modules here."""

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from service.engines import LocalEngine
from service.http import create_app
from service.index import NoteIndex
from service.serving import open_service
from service.settings import Settings
from tests.clock import PATIENCE_SECONDS
from tests.qdrant import QdrantStandIn
from tests.service.gate import Gate
from tests.service.index.backends import BACKENDS, open_index


@pytest.fixture(params=BACKENDS)
async def index(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[NoteIndex]:
    """An empty index of each kind."""
    async with open_index(request.param, tmp_path) as opened:
        yield opened


@pytest.fixture
async def stand_in() -> AsyncIterator[QdrantStandIn]:
    """A Qdrant server that is made up."""
    server = QdrantStandIn()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """The local engine does not embed before this is open."""
    held, embed = Gate(), LocalEngine.embed

    def waiting(self: LocalEngine, prompts: Sequence[Sequence[int]]) -> Any:
        held.batches.append(len(prompts))
        held.entered.set()
        assert held.open.wait(PATIENCE_SECONDS)
        return embed(self, prompts)

    monkeypatch.setattr(LocalEngine, "embed", waiting)
    return held


@pytest.fixture(scope="module")
def shared_settings(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Settings]:
    """Settings of a service that a module opens once."""

    def make(**changes: object) -> Settings:
        data = tmp_path_factory.mktemp("shared")
        return Settings.model_validate({"checkpoint": tiny_path, "data_dir": data, "engine": "local", **changes})

    return make


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(shared_settings: Callable[..., Settings]) -> AsyncIterator[httpx.AsyncClient]:
    """Speaks to a service that a module opens once, for tests that leave it as it was. They are marked with `on_shared_loop`."""
    settings = shared_settings()
    async with open_service(settings) as runtime:
        transport = httpx.ASGITransport(create_app(runtime, settings), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as speaking:
            yield speaking
