"""Rate limits over HTTP: whose they are, and what a client over its rate is told."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from service.caller import caller
from service.http.app import create_app
from service.http.draining import Drain
from service.http.request_lifetime import RequestLifetime
from service.security.keys import hash_key
from service.serving import Runtime
from service.settings import Settings
from tests.service.calls import NOTES
from tests.service.security.keyed import asking, bearer, problem, speaking_to, write_keys


@pytest.fixture
def limited(settings_for: Callable[..., Settings]) -> Callable[..., Settings]:
    return lambda **changes: settings_for(requests_per_second=0.2, **changes)


async def test_each_address_has_its_rate(runtime: Runtime, limited: Callable[..., Settings]) -> None:
    settings = limited()
    app = create_app(runtime, settings)

    async def statuses(address: str) -> list[int]:
        transport = httpx.ASGITransport(app, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return [(await client.get("/model")).status_code for _ in range(3)]

    assert await statuses("192.0.2.1") == [200, 200, 429]
    assert await statuses("192.0.2.2") == [200, 200, 429]
    assert await statuses("2001:db8::1") == [200, 200, 429]
    assert await statuses("2001:db8::2:3:4:5") == [429, 429, 429], "one network is one client"
    assert await statuses("2001:db8:0:1::1") == [200, 200, 429]
    assert await statuses("::ffff:192.0.2.3") == [200, 200, 429]
    assert await statuses("::ffff:192.0.2.4") == [200, 200, 429], "other clients of a proxy that writes IPv4 so"
    assert await statuses("::ffff:192.0.2.1") == [429, 429, 429]


@pytest.mark.parametrize(
    ("host", "client"),
    [("192.0.2.1", "192.0.2.1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("2001:db8::2:3:4:5", "2001:db8::/64"),
     ("fe80::1%eth0", "fe80::/64"), ("unix", "unix"), ("", "")],
)  # fmt: skip
async def test_queues_are_fair_between_the_same_clients(host: str, client: str) -> None:
    seen = []

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(caller.get().client)

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(_message: Message) -> None: ...

    scope = {"type": "http", "path": "/x", "headers": [], "client": (host, 1)}
    await RequestLifetime(app, 10, Drain())(scope, receive, send)
    assert seen == [client]


async def test_what_a_client_over_its_rate_is_told(runtime: Runtime, limited: Callable[..., Settings]) -> None:
    async with speaking_to(runtime, limited()) as client:
        refused = [await client.get("/notes/x") for _ in range(3)][-1]
        assert (refused.status_code, problem(refused)) == (429, "rate-limited")
        assert 1 <= int(refused.headers["Retry-After"]) <= 5
        for path in ("/health/live", "/health/ready", "/metrics", "/docs"):
            assert (await client.get(path)).status_code == 200
        assert (await client.get("/nope")).status_code == 429
        assert 'notellm_rate_limited_total{limit="requests"} 2.0' in (await client.get("/metrics")).text


async def test_keys_have_rates_of_their_own(limited: Callable[..., Settings], tmp_path: Path) -> None:
    rapid = f'["rapid"]\nsha256 = ["{hash_key("rapid-key")}"]\nscopes = ["read"]\nrequests_per_second = 1\n'
    async with asking(limited(api_keys_file=write_keys(tmp_path / "keys.toml", rapid))) as client:
        for headers, allowed in ((bearer("read"), 2), ({"X-API-Key": "rapid-key"}, 10)):
            answers = [(await client.get("/model", headers=headers)).status_code for _ in range(allowed + 1)]
            assert answers == [200] * allowed + [429]
        assert (await client.get("/model")).status_code == 401


async def test_tokens_are_charged_for_what_was_queued(runtime: Runtime, settings_for: Callable[..., Settings]) -> None:
    settings = settings_for(tokens_per_second=1)
    async with speaking_to(runtime, settings) as client:
        assert (await client.get("/model")).status_code == 200
        first = await client.post("/notes/embed", json={"notes": NOTES[:1]})
        assert first.status_code == 200
        refused = await client.post("/notes/embed", json={"notes": NOTES[:1]})
        assert (refused.status_code, problem(refused)) == (429, "rate-limited")
        tokens = first.json()["notes"][0]["tokens"]
        assert abs(int(refused.headers["Retry-After"]) - (tokens - 10)) <= 2
