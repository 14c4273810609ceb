"""What browsers are told: headers on every answer, and other origins. `routes/test_docs.py` tests the policy of `/docs`."""

from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from service.notes import NoteService
from service.serving import Runtime
from service.settings import Settings, read_origins
from service.settings.exposure import check_exposure, is_loopback
from tests.service.calls import NOTES
from tests.service.security.keyed import speaking_to

ORIGIN = "https://shop.example"


async def test_every_answer_has_them(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise KeyError("a defect")

    answers = [
        await client.post("/notes/embed", json={"notes": NOTES[:1]}),
        await client.get("/notes/a1"),
        await client.get("/nope"),
        await client.post("/notes/embed", content=b"{"),
        await client.put("/model"),
        await client.get("/metrics"),
        await client.delete("/notes/a1"),
        await client.get("/docs"),
    ]
    monkeypatch.setattr(NoteService, "get", broken)
    answers.append(await client.get("/notes/a1"))
    assert [answer.status_code for answer in answers] == [200, 200, 404, 400, 405, 200, 204, 200, 500]
    for answer in answers:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; ")
        assert "Strict-Transport-Security" not in answer.headers
        assert "Server" not in answer.headers
        assert "Access-Control-Allow-Origin" not in answer.headers


async def test_the_bare_address_leads_to_the_description(client: httpx.AsyncClient) -> None:
    answer = await client.get("/")
    assert answer.status_code == 307
    assert answer.headers["Location"] == "docs"  # no slash before it: right behind a path of a proxy, too
    assert (await client.get("/", follow_redirects=True)).text == (await client.get("/docs")).text


@pytest.fixture
async def crossing(runtime: Runtime, settings_for: Callable[..., Settings]) -> AsyncIterator[httpx.AsyncClient]:
    async with speaking_to(runtime, settings_for(cors_origins=f"{ORIGIN}, http://localhost:3000")) as client:
        yield client


PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization, content-type"}


async def test_pages_of_named_origins_may_ask(crossing: httpx.AsyncClient) -> None:
    allowed = await crossing.options("/notes/embed", headers={"Origin": ORIGIN, **PREFLIGHT})
    assert allowed.status_code == 200
    assert allowed.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "Access-Control-Allow-Credentials" not in allowed.headers
    answer = await crossing.get("/model", headers={"Origin": ORIGIN})
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "X-Request-Id" in answer.headers["Access-Control-Expose-Headers"]


async def test_pages_of_other_origins_may_not(crossing: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    for asked, origin in ((crossing, "https://evil.example"), (client, ORIGIN)):
        preflight = await asked.options("/notes/embed", headers={"Origin": origin, **PREFLIGHT})
        assert preflight.status_code in {400, 405}
        answer = await asked.get("/model", headers={"Origin": origin})
        assert "access-control-allow-origin" not in {**preflight.headers, **answer.headers}


@pytest.mark.parametrize("text", ["*", "shop.example", "https://shop.example/", "https://*.example", "https://a b", "null"])
def test_what_is_no_origin(text: str) -> None:
    with pytest.raises(ValueError, match="is not an origin"):
        read_origins(text)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("10.0.0.1", False), ("service.local", False), ("", False), ("localhost.example.com", False)],
)  # fmt: skip
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) == expected


@pytest.mark.parametrize(
    ("host", "keys", "anonymous"),
    [("127.0.0.1", False, False), ("127.0.0.1", True, False), ("0.0.0.0", True, False), ("0.0.0.0", False, True)],
)
def test_what_may_be_exposed(host: str, keys: bool, anonymous: bool) -> None:
    check_exposure(host, keys=keys, anonymous=anonymous)


@pytest.mark.parametrize(("host", "keys", "anonymous"), [("0.0.0.0", False, False), ("127.0.0.1", True, True)])
def test_what_may_not(host: str, keys: bool, anonymous: bool) -> None:
    with pytest.raises(ValueError, match="NOTELLM_ALLOW_ANONYMOUS"):
        check_exposure(host, keys=keys, anonymous=anonymous)
