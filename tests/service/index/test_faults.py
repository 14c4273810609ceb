"""The service while its Qdrant server is away: 503, soon, and well again by itself. A TCP proxy is the network between them."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import grpc
import httpx
import pytest

from service.errors import StartupError
from service.http import create_app
from service.http.problems import PROBLEM_JSON
from service.index.server import calls
from service.index.server.connection import ServerAddress, connect
from service.observability.readiness import INDEX_FAILS
from service.serving import model_manager, open_service
from service.settings import Settings
from tests.clock import PATIENCE_SECONDS, LoopTime, until
from tests.proxy import TcpProxy
from tests.qdrant import QdrantStandIn
from tests.service.calls import NOTES, embed

SERVER = os.environ.get("NOTELLM_TEST_QDRANT_URL")
TIMEOUT_SECONDS = 600  # that only pass when a test lets them
BACKENDS = [
    "stand-in",
    pytest.param("server", marks=pytest.mark.needs("qdrant")),
]


class Service:
    """The application in this process, and the network between it and its index."""

    def __init__(self, client: httpx.AsyncClient, network: TcpProxy, server: QdrantStandIn | None, loop_time: LoopTime) -> None:
        self.client = client
        self.network = network
        self.server = server
        self.loop_time = loop_time

    async def answer(self, method: str, path: str, body: object = None) -> httpx.Response:
        """What it says when the index does not answer and the time for that passes."""
        asking = asyncio.create_task(self.client.request(method, path, json=body))

        def answered() -> bool:
            self.loop_time.advance(TIMEOUT_SECONDS / 10)
            return asking.done()

        await until(answered)
        return await asking

    async def assert_unavailable(self) -> None:
        """Everything that needs the index says so; everything else works."""
        for method, path, body in (
            ("POST", "/notes/embed", {"notes": NOTES}),
            ("GET", "/notes/a1", None),
            ("DELETE", "/notes/a1", None),
            ("GET", "/notes/a1/similar", None),
            ("GET", "/model", None),
        ):
            response = await self.answer(method, path, body)
            assert response.status_code == 503, (method, path)
            assert response.headers["Content-Type"] == PROBLEM_JSON
            assert response.json()["type"] == "urn:notellm:problem:index-unavailable"
            assert "127.0.0.1" not in response.text
            assert 1 <= int(response.headers["Retry-After"]) <= 5
        ready = await self.answer("GET", "/health/ready")
        assert ready.status_code == 503
        assert ready.json()["detail"] == INDEX_FAILS
        assert (await self.client.get("/health/live")).status_code == 200
        await embed(self.client, NOTES, store=False)

    async def assert_recovers(self) -> None:
        """Readiness turns green without a restart, and what was acknowledged is there."""
        # A connection that leads nowhere is given up after 8 s, and one that is refused is tried again every 2 s.
        await until(lambda: self._answers("GET", "/health/ready"))
        for note in NOTES:
            # A request of other traffic that began during the outage may fail only now, and then calls are refused once more.
            await until(lambda note=note: self._answers("GET", f"/notes/{note['id']}"))  # type: ignore[misc]
        changed = [NOTES[0] | {"title": "written afterwards"}]
        await until(lambda: self._answers("POST", "/notes/embed", {"notes": changed}))
        await until(lambda: self._answers("GET", "/notes/a1", title="written afterwards"))

    async def _answers(self, method: str, path: str, body: object = None, title: str | None = None) -> bool:
        """Whether a call succeeds. If not, the time passes in which the service leaves its server alone."""
        response = await self.client.request(method, path, json=body)
        assert response.status_code in {200, 503}, response.text
        if response.status_code == 503:
            self.loop_time.advance(calls.REST_SECONDS)
        elif title is not None:
            assert response.json()["title"] == title
        return response.status_code == 200


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
async def service(
    request: pytest.FixtureRequest, settings_for: Callable[..., Settings], loop_time: LoopTime
) -> AsyncIterator[Service]:
    async with open_backend(request.param) as (host, port, server):
        network = TcpProxy(host, port)
        await network.start()
        settings = settings_for(
            qdrant_url="http://127.0.0.1", qdrant_grpc_port=network.port, qdrant_timeout_seconds=TIMEOUT_SECONDS,
            qdrant_collection=f"test-{uuid.uuid4().hex}", request_timeout_seconds=6 * TIMEOUT_SECONDS,
        )  # fmt: skip
        async with open_service(settings) as runtime:
            transport = httpx.ASGITransport(create_app(runtime, settings), raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                await embed(client, NOTES)
                yield Service(client, network, server, loop_time)
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
    await until(lambda: "the state of the migration cannot be followed" in caplog.messages)
    assert not [record.message for record in caplog.records if record.exc_info]
    await service.network.start()


async def test_connections_lead_nowhere(service: Service) -> None:
    await service.network.hang()
    await service.assert_unavailable()
    await service.network.start()
    await service.assert_recovers()


@pytest.fixture
def _long_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "REST_SECONDS", 1000.0 * TIMEOUT_SECONDS)


@pytest.mark.usefixtures("_long_rest")
async def test_a_server_that_is_away_is_left_alone(service: Service) -> None:
    await service.network.hang()
    for _ in range(calls.FAILURES):
        assert (await service.answer("GET", "/notes/a1")).status_code == 503
    for path in ("/notes/a1", "/notes/b1"):
        response = await service.client.get(path)
        assert response.status_code == 503
        assert "left alone for a while" in response.json()["detail"]
    assert (await service.client.get("/health/ready")).status_code == 503
    assert 'notellm_breaker_open{server="qdrant"} 1.0' in (await service.client.get("/metrics")).text
    await service.network.start()
    await service.assert_recovers()
    assert 'notellm_breaker_open{server="qdrant"} 0.0' in (await service.client.get("/metrics")).text


@pytest.mark.parametrize(("exact_up_to", "exact"), [(1_000_000, True), (1, False)], ids=["small", "large"])
@pytest.mark.parametrize("service", ["stand-in"], indirect=True)
async def test_readiness_asks_little_of_a_large_index(
    service: Service, exact_up_to: int, exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.index.server.index.EXACT_UP_TO", exact_up_to)
    assert service.server is not None
    service.server.requests.clear()
    assert (await service.client.get("/health/ready")).status_code == 200
    # An exact count of all notes lists every id. That of tombstones reads their index.
    asked = [(name, asked.exact) for name, asked in service.server.requests]
    assert asked == [("Count", False), ("Count", exact), ("Count", True)]


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
    """What was acknowledged in between is there afterwards, and no request fails in another way."""
    acknowledged: list[str] = []
    refused: list[str] = []
    over = asyncio.Event()

    def refused_by(writers: set[str]) -> bool:
        service.loop_time.advance(TIMEOUT_SECONDS / 10)
        return writers <= {note_id[:2] for note_id in refused}

    async with asyncio.TaskGroup() as group:
        for writer in range(3):
            group.create_task(_write(service, f"w{writer}", acknowledged, refused, over))
        for fault in (service.network.refuse, service.network.hang, service.network.refuse):
            before = len(acknowledged)
            await until(lambda before=before: len(acknowledged) > before + 3)  # type: ignore[misc]
            await fault()
            refused.clear()
            await until(lambda: refused_by({"w0", "w1", "w2"}))
            await service.network.start()
            await service.assert_recovers()
        over.set()
    for note_id in acknowledged:
        assert (await service.client.get(f"/notes/{note_id}")).status_code == 200


async def _write(service: Service, prefix: str, acknowledged: list[str], refused: list[str], over: asyncio.Event) -> None:
    number = 0
    while not over.is_set():
        number += 1
        note = {"id": f"{prefix}-{number}", "title": "mid-traffic"}
        response = await service.client.post("/notes/embed", json={"notes": [note]})
        assert response.status_code in {200, 503}, response.text
        (acknowledged if response.status_code == 200 else refused).append(note["id"])
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
    with pytest.raises(StartupError, match="Check NOTELLM_QDRANT_URL"):
        async with asyncio.timeout(PATIENCE_SECONDS), open_service(settings):
            pass
    await network.refuse()
