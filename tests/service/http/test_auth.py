"""Keys and scopes: who gets in, who does not, and what they are told."""

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio
from fastapi import FastAPI

from harness.service import running_service
from service.caller import caller
from service.http.app import create_app
from service.http.gate import ACCESS, needed_scope
from service.queueing.fair_queue import FairQueue
from service.security import Scope
from service.security.keys import hash_key
from service.serving import Runtime, open_service
from service.settings import Settings
from tests.clock import until_now
from tests.service.calls import NOTES, on_shared_loop
from tests.service.security.keyed import KEYS, asking, bearer, problem, write_keys

NOTE = {"notes": [{"id": "n1", "title": "cold brew"}]}
TEXT = {"title": "cold brew"}
CALLS: list[tuple[str, str, Any, Scope | None]] = [
    ("POST", "/notes/embed", NOTE, Scope.WRITE),
    ("GET", "/notes/n1", None, Scope.READ),
    ("GET", "/notes/n1/similar", None, Scope.READ),
    ("POST", "/notes/similar", {"ids": ["n1"]}, Scope.READ),
    ("POST", "/notes/similar", {"note": TEXT}, Scope.READ),
    ("POST", "/notes/hashtags", {"notes": [TEXT]}, Scope.READ),
    ("POST", "/v1/embeddings", {"input": "cold brew"}, Scope.READ),
    ("GET", "/v1/models", None, Scope.READ),
    ("GET", "/v1/models/tiny", None, Scope.READ),
    ("GET", "/model", None, Scope.READ),
    ("GET", "/metrics", None, Scope.METRICS),
    ("DELETE", "/notes/n1", None, Scope.WRITE),
    ("GET", "/health/live", None, None),
    ("GET", "/health/ready", None, None),
    ("GET", "/openapi.json", None, None),
    ("GET", "/docs", None, None),
    ("GET", "/docs/swagger-ui.css", None, None),
    ("GET", "/", None, None),
]


@pytest.fixture
def keyed_settings(settings_for: Callable[..., Settings], tmp_path: Path) -> Settings:
    return settings_for(api_keys_file=write_keys(tmp_path / "keys.toml"), data_dir=tmp_path / "keyed")


@pytest.fixture
async def keyed(keyed_settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with asking(keyed_settings) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_keyed(
    shared_settings: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    """The same, once for all tests to which it does not matter what others have asked."""
    file = write_keys(tmp_path_factory.mktemp("keys") / "keys.toml")
    async with asking(shared_settings(api_keys_file=file)) as client:
        yield client


@on_shared_loop
async def test_each_call_needs_its_scope(shared_keyed: httpx.AsyncClient) -> None:
    for method, path, body, needed in CALLS:
        for scope in Scope:
            if scope != needed and needed:
                refused = await shared_keyed.request(method, path, json=body, headers=bearer(scope))
                assert (refused.status_code, problem(refused)) == (403, "forbidden"), (method, path, scope)
                challenge = f'Bearer realm="notellm", error="insufficient_scope", scope="{needed}"'
                assert refused.headers["WWW-Authenticate"] == challenge
        headers = bearer(needed) if needed else {}
        response = await shared_keyed.request(method, path, json=body, headers=headers)
        assert not response.is_error, (method, path, response.text)


@on_shared_loop
async def test_without_a_key_nothing_but_health_and_description(shared_keyed: httpx.AsyncClient) -> None:
    for method, path, body, needed in [*CALLS, ("GET", "/nope", None, Scope.READ), ("PUT", "/model", None, Scope.READ)]:
        if needed:
            response = await shared_keyed.request(method, path, json=body)
            assert (response.status_code, problem(response)) == (401, "unauthenticated"), (method, path)
            assert response.headers["WWW-Authenticate"] == 'Bearer realm="notellm"'


@on_shared_loop
@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer nlm_wrong"},
        {"Authorization": "Bearer " + "x" * 10_000},
        {"Authorization": f"Bearer {hash_key(KEYS[Scope.READ])}"},
        {"Authorization": f"Bearer {KEYS[Scope.READ]}x"},
        {"X-API-Key": "nlm_wrong"},
        {"Authorization": "Bearer \xff"},
        {"Authorization": "Bearer nlm_wrong", "X-API-Key": KEYS[Scope.READ]},
    ],
)
async def test_a_key_that_is_not_known(headers: dict[str, str], shared_keyed: httpx.AsyncClient) -> None:
    raw = {name: value.encode("latin-1") for name, value in headers.items()}
    response = await shared_keyed.get("/model", headers=raw)  # type: ignore[arg-type]
    assert (response.status_code, problem(response)) == (401, "unauthenticated")
    assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]
    for value in headers.values():
        assert value.removeprefix("Bearer ") not in response.text


@on_shared_loop
@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Basic bmxtOg==", "nlm_marked-key-read"])
async def test_an_authorization_without_a_key(value: str, shared_keyed: httpx.AsyncClient) -> None:
    assert (await shared_keyed.get("/model", headers={"Authorization": value})).status_code == 401


@on_shared_loop
@pytest.mark.parametrize("name", ["authorization", "X-API-Key"])
async def test_where_a_key_may_stand(name: str, shared_keyed: httpx.AsyncClient) -> None:
    value = KEYS[Scope.READ] if name == "X-API-Key" else f"bearer {KEYS[Scope.READ]}"
    assert (await shared_keyed.get("/model", headers={name: value})).status_code == 200


@on_shared_loop
async def test_what_does_not_exist_is_said_to_those_who_have_a_key(shared_keyed: httpx.AsyncClient) -> None:
    assert problem(await shared_keyed.get("/nope", headers=bearer("read"))) == "not-found"
    assert problem(await shared_keyed.put("/model", headers=bearer("read"))) == "method-not-allowed"


@on_shared_loop
async def test_the_body_of_a_stranger_is_not_read(shared_keyed: httpx.AsyncClient) -> None:
    read: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        for number in range(3):
            read.append(number)
            yield b"{"

    for headers in ({}, bearer("read")):
        response = await shared_keyed.post("/notes/embed", content=body(), headers=headers)
        assert response.status_code in {401, 403}
    assert not read


async def test_refusals_are_counted_under_their_route(keyed: httpx.AsyncClient) -> None:
    await keyed.get("/notes/n1")
    await keyed.get("/notes/n1", headers=bearer("write"))
    metrics = (await keyed.get("/metrics", headers=bearer("metrics"))).text
    for status in (401, 403):
        line = f'notellm_http_requests_total{{method="GET",route="/notes/{{note_id}}",status="{status}"}} 1.0'
        assert line in metrics


@on_shared_loop
async def test_errors_under_v1_have_openai_s_form(shared_keyed: httpx.AsyncClient) -> None:
    error = (await shared_keyed.post("/v1/embeddings", json={"input": "x"})).json()["error"]
    assert error["type"] == "urn:notellm:problem:unauthenticated"


async def test_a_route_that_nobody_thought_of_needs_admin(keyed_settings: Settings) -> None:
    async with open_service(keyed_settings) as runtime:
        app = create_app(runtime, keyed_settings)

        @app.get("/forgotten")
        async def forgotten() -> str:
            return "open"

        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            assert (await client.get("/forgotten")).status_code == 401
            for scope in Scope:
                expected = 200 if scope is Scope.ADMIN else 403
                assert (await client.get("/forgotten", headers=bearer(scope))).status_code == expected


async def test_the_queues_are_fair_between_keys(keyed: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    push = FairQueue.push

    def watched(self: Any, item: Any, tokens: int, client: Any) -> Any:
        asked.append(client.client)
        return push(self, item, tokens, client)

    monkeypatch.setattr(FairQueue, "push", watched)
    await keyed.post("/v1/embeddings", json={"input": "x"}, headers=bearer("read"))
    await keyed.post("/notes/embed", json=NOTE, headers=bearer("write"))
    assert asked == ["read", "write"]
    assert caller.get().client == ""


def routes(app: FastAPI) -> list[tuple[str, str]]:
    return [(method, path) for path, item in app.openapi()["paths"].items() for method in (name.upper() for name in item)]


async def test_the_table_of_scopes_is_whole_and_documented(runtime: Runtime, settings_for: Callable[..., Settings]) -> None:
    app = create_app(runtime, settings_for())
    described = routes(app)
    for entry in ACCESS:
        method, _, path = entry.rpartition(" ")
        assert any(path == known and method in {"", verb} for verb, known in described) or path in {
            "/", "/docs", "/docs/oauth2-redirect", "/docs/{name}", "/openapi.json", "/playground/{name}",
        }, entry  # fmt: skip
    page = (Path(__file__).parents[3] / "docs" / "security.md").read_text(encoding="utf-8")
    for method, path in described:
        row = re.search(rf"^\|.*`{re.escape(f'{method} {path}')}`.*\| (\S+) \|$", page, re.MULTILINE)
        assert row, f"docs/security.md does not say what {method} {path} needs"
        assert row[1].strip("`") == (needed_scope(method, path) or "open"), (method, path)


async def test_the_description_names_keys_only_where_there_are_any(keyed: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    described = (await keyed.get("/openapi.json")).json()
    assert described["components"]["securitySchemes"] == {"key": {"type": "http", "scheme": "bearer"}}
    embed = described["paths"]["/notes/embed"]["post"]
    assert embed["security"] == [{"key": ["write"]}]
    assert {"401", "403", "429"} <= set(embed["responses"])
    assert "security" not in described["paths"]["/health/live"]["get"]
    open_to_all = (await client.get("/openapi.json")).text
    assert "securitySchemes" not in open_to_all


async def test_without_keys_a_key_is_not_looked_at(client: httpx.AsyncClient) -> None:
    response = await client.post("/notes/embed", json={"notes": NOTES[:1]}, headers={"Authorization": "Bearer none"})
    assert response.status_code == 200


def test_keys_of_a_running_service(tiny_path: Path, tmp_path: Path) -> None:
    """Over HTTP, with an OpenAI client, on all addresses; and a key taken back."""
    file = write_keys(tmp_path / "keys.toml")
    data = tmp_path / "data"
    with running_service(tiny_path, data, NOTELLM_HOST="0.0.0.0", NOTELLM_API_KEYS_FILE=str(file)) as service:
        http_client = openai.DefaultHttpxClient(trust_env=False, timeout=60)
        speaking = openai.OpenAI(base_url=f"{service.url}/v1", api_key=KEYS[Scope.READ], max_retries=0, http_client=http_client)
        assert len(speaking.embeddings.create(model="tiny", input="cold brew").data) == 1
        with pytest.raises(openai.AuthenticationError):
            speaking.with_options(api_key="nlm_wrong").embeddings.create(model="tiny", input="x")
        with pytest.raises(openai.PermissionDeniedError):
            speaking.with_options(api_key=KEYS[Scope.WRITE]).embeddings.create(model="tiny", input="x")
        file.write_text(f'[other]\nsha256 = ["{hash_key("other-key")}"]\nscopes = ["read"]\n')
        until_now(lambda: service.get("/model", **bearer("read")).status_code == 401)
        assert service.get("/model", **{"X-API-Key": "other-key"}).status_code == 200
        speaking.close()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"NOTELLM_HOST": "0.0.0.0"}, "other machines can reach NOTELLM_HOST=0.0.0.0"),
        ({"NOTELLM_API_KEYS_FILE": "/nowhere/keys.toml"}, "NOTELLM_API_KEYS_FILE: /nowhere/keys.toml cannot be read"),
    ],
)
def test_a_service_that_would_let_everybody_in_does_not_start(
    variables: dict[str, str], message: str, tiny_path: Path, tmp_path: Path
) -> None:
    environment = os.environ | {"NOTELLM_CHECKPOINT": str(tiny_path), "NOTELLM_DATA_DIR": str(tmp_path), **variables}
    command = [Path(sys.executable).with_name("notellm-serve")]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 1
    assert message in ended.stderr
