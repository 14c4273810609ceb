"""The service while its Qdrant server is away: 503, soon, and well again by itself. A TCP proxy is the network between them."""

import asyncio
import os
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import grpc
import httpx
import pytest

from service.errors import PROBLEM_JSON, StartupError
from service.http import create_app
from service.index.server.calls import FAILURES, REST_SECONDS
from service.index.server.connection import ServerAddress, connect
from service.observability.readiness import INDEX_FAILS
from service.serving import model_manager, open_service
from service.settings import Settings
from tests.proxy import TcpProxy
from tests.qdrant import QdrantStandIn
from tests.service.calls import NOTES, embed

SERVER = os.environ.get("NOTELLM_TEST_QDRANT_URL")
TIMEOUT_SECONDS = 1
# Of a test machine that does other things, too.
MARGIN_SECONDS = 2
# A connection that leads nowhere is given up after 8 s, and one that is refused is tried again every 2 s.
RECOVERY_SECONDS = 20
BACKENDS = [
    "stand-in",
    pytest.param("server", marks=pytest.mark.needs("qdrant")),
]


class Service:
    """The application in this process, and the network between it and its index."""

    def __init__(self, client: httpx.AsyncClient, network: TcpProxy, server: QdrantStandIn | None) -> None:
        self.client = client
        self.network = network
        self.server = server

    async def assert_unavailable(self) -> None:
        """Everything that needs the index says so, in time; everything else works."""
        for method, path, body in (
            ("POST", "/notes/embed", {"notes": NOTES}),
            ("GET", "/notes/a1", None),
            ("DELETE", "/notes/a1", None),
            ("GET", "/notes/a1/similar", None),
            ("GET", "/model", None),
        ):
            start = time.monotonic()
            response = await self.client.request(method, path, json=body)
            assert time.monotonic() - start < TIMEOUT_SECONDS + MARGIN_SECONDS
            assert response.status_code == 503, (method, path)
            assert response.headers["Content-Type"] == PROBLEM_JSON
            assert response.json()["type"] == "urn:notellm:problem:index-unavailable"
            assert "127.0.0.1" not in response.text
            assert 1 <= int(response.headers["Retry-After"]) <= 5
        ready = await self.client.get("/health/ready")
        assert ready.status_code == 503
        assert ready.json()["detail"] == INDEX_FAILS
        assert (await self.client.get("/health/live")).status_code == 200
        await embed(self.client, NOTES, store=False)

    async def assert_recovers(self) -> None:
        """Readiness turns green without a restart, and what was acknowledged is there."""
        deadline = time.monotonic() + RECOVERY_SECONDS
        while (response := await self.client.get("/health/ready")).status_code != 200:
            assert time.monotonic() < deadline, response.json()
            await asyncio.sleep(0.1)
        for note in NOTES:
            assert (await self.client.get(f"/notes/{note['id']}")).json()["title"]
        await embed(self.client, [NOTES[0] | {"title": "written afterwards"}])
        assert (await self.client.get("/notes/a1")).json()["title"] == "written afterwards"


@asynccontextmanager
async def open_backend(backend: str) -> AsyncIterator[tuple[str, int, QdrantStandIn | None]]:
    """Host and gRPC port."""
    if backend == "server":
        yield urlsplit(SERVER or "").hostname or "", 6334, None
        return
    stand_in = QdrantStandIn()
    await stand_in.start()
    yield "127.0.0.1", stand_in.port, stand_in
    await stand_in.stop()


@pytest.fixture(params=BACKENDS)
async def service(request: pytest.FixtureRequest, settings_for: Callable[..., Settings]) -> AsyncIterator[Service]:
    async with open_backend(request.param) as (host, port, server):
        network = TcpProxy(host, port)
        await network.start()
        settings = settings_for(
            qdrant_url="http://127.0.0.1", qdrant_grpc_port=network.port, qdrant_timeout_seconds=TIMEOUT_SECONDS,
            qdrant_collection=f"test-{uuid.uuid4().hex}",
        )  # fmt: skip
        async with open_service(settings) as runtime:
            transport = httpx.ASGITransport(create_app(runtime, settings), raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                await embed(client, NOTES)
                yield Service(client, network, server)
        await network.refuse()
        direct = connect(ServerAddress(f"http://{host}", port), 10)
        await direct.delete_collection(settings.qdrant_collection)
        await direct.close()


async def test_the_server_refuses_connections(service: Service) -> None:
    await service.network.refuse()
    await service.assert_unavailable()
    await service.network.start()
    await service.assert_recovers()


@pytest.fixture
def _looked_at_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_manager, "FOLLOW_SECONDS", 0.05)


@pytest.mark.usefixtures("_looked_at_often")
async def test_an_absent_server_fills_no_log(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """The state of a migration is looked at whether somebody asks or not."""
    await service.network.refuse()
    async with asyncio.timeout(30):
        while "the state of the migration cannot be followed" not in caplog.messages:
            await asyncio.sleep(0.05)
    assert not [record.message for record in caplog.records if record.exc_info]
    await service.network.start()


async def test_connections_lead_nowhere(service: Service) -> None:
    await service.network.hang()
    await service.assert_unavailable()
    await service.network.start()
    await service.assert_recovers()


async def test_a_server_that_is_away_is_left_alone(service: Service) -> None:
    await service.network.hang()
    for _ in range(FAILURES):
        assert (await service.client.get("/notes/a1")).status_code == 503
    start = time.monotonic()
    for path in ("/notes/a1", "/notes/b1"):
        response = await service.client.get(path)
        assert response.status_code == 503
        assert "left alone for a while" in response.json()["detail"]
    assert (await service.client.get("/health/ready")).status_code == 503
    assert 'notellm_breaker_open{server="qdrant"} 1.0' in (await service.client.get("/metrics")).text
    assert time.monotonic() - start < TIMEOUT_SECONDS
    await service.network.start()
    await asyncio.sleep(REST_SECONDS)
    await service.assert_recovers()
    assert 'notellm_breaker_open{server="qdrant"} 0.0' in (await service.client.get("/metrics")).text


@pytest.mark.parametrize("service", ["stand-in"], indirect=True)
async def test_readiness_asks_little_of_a_large_index(service: Service) -> None:
    assert service.server is not None
    service.server.requests.clear()
    assert (await service.client.get("/health/ready")).status_code == 200
    # An exact count lists every id.
    assert [(name, asked.exact) for name, asked in service.server.requests] == [("Count", False)] * 2


@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND])
@pytest.mark.parametrize("service", ["stand-in"], indirect=True)
async def test_the_server_answers_with_errors(code: grpc.StatusCode, service: Service) -> None:
    assert service.server is not None
    service.server.fault = lambda _name, _request: (code, "as the test wants it")
    await service.assert_unavailable()
    service.server.fault = lambda _name, _request: None
    await service.assert_recovers()


@pytest.mark.parametrize("service", ["stand-in"], indirect=True)
async def test_the_server_is_started_anew(service: Service) -> None:
    assert service.server is not None
    await service.server.stop()
    await service.assert_unavailable()
    await service.server.start()
    await service.assert_recovers()


@pytest.mark.parametrize("service", ["stand-in"], indirect=True)
async def test_traffic_while_the_network_fails_again_and_again(service: Service) -> None:
    """What was acknowledged in between is there afterwards, and no request waits or fails in another way."""
    acknowledged: list[str] = []
    over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for writer in range(3):
            group.create_task(_write(service, f"w{writer}", acknowledged, over))
        for fault in ("refuse", "hang", "refuse"):
            await asyncio.sleep(0.5)
            await (service.network.refuse if fault == "refuse" else service.network.hang)()
            await asyncio.sleep(1.5)
            await service.network.start()
            await service.assert_recovers()
        over.set()
    assert len(acknowledged) > 10
    for note_id in acknowledged:
        assert (await service.client.get(f"/notes/{note_id}")).status_code == 200


async def _write(service: Service, prefix: str, acknowledged: list[str], over: asyncio.Event) -> None:
    number = 0
    while not over.is_set():
        number += 1
        note = {"id": f"{prefix}-{number}", "title": "mid-traffic"}
        start = time.monotonic()
        response = await service.client.post("/notes/embed", json={"notes": [note]})
        assert time.monotonic() - start < 2 * TIMEOUT_SECONDS + MARGIN_SECONDS  # it reads, then writes
        assert response.status_code in {200, 503}, response.text
        if response.status_code == 200:
            acknowledged.append(note["id"])
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("fault", ["refused", "hanging"])
async def test_a_start_without_a_server(fault: str, settings_for: Callable[..., Settings]) -> None:
    network = TcpProxy("127.0.0.1", 1)
    await network.start()
    if fault == "refused":
        await network.refuse()
    else:
        await network.hang()
    settings = settings_for(qdrant_url="http://127.0.0.1", qdrant_grpc_port=network.port, qdrant_timeout_seconds=1)
    start = time.monotonic()
    with pytest.raises(StartupError, match="Check NOTELLM_QDRANT_URL"):
        async with open_service(settings):
            pass
    assert time.monotonic() - start < TIMEOUT_SECONDS + 10  # the checkpoint is loaded first
    await network.refuse()
