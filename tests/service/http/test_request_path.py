"""A service behind a prefix, whether the proxy removes it or not; slashes too many; and no redirect out of the proxy."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from harness.service import RunningService, running_service
from service.http.request_path import route_path
from service.serving import Runtime
from service.settings import Settings
from tests.service.calls import NOTES
from tests.service.security.keyed import problem, speaking_to

PREFIX = "/team/notellm"
PREFIXES = ["", PREFIX]


@pytest.mark.parametrize(
    ("path", "root_path", "expected"),
    [
        ("/notes/embed", "", "/notes/embed"),
        ("/notes/embed/", "", "/notes/embed"),
        ("/v1//embeddings", "", "/v1/embeddings"),
        ("//v1/embeddings//", "", "/v1/embeddings"),
        ("/", "", "/"),
        ("", "", "/"),
        ("//", "", "/"),
        ("*", "", "*"),
        ("http://service:8000/notes/embed", "", "/notes/embed"),
        ("https://shop.example/notellm/model/", "/notellm", "/model"),
        ("http://service", "", "/"),
        ("/http://service/model", "", "/http:/service/model"),
        ("/notellm/notes/embed/", "/notellm", "/notes/embed"),
        ("/notellm//notes/embed", "/notellm", "/notes/embed"),
        ("/notes/embed", "/notellm", "/notes/embed"),
        ("/notellm", "/notellm", "/"),
        ("/notellm/", "/notellm", "/"),
        ("/notellmx/model", "/notellm", "/notellmx/model"),
        ("/notellm/notellm/model", "/notellm", "/notellm/model"),
        ("/Notellm/model", "/notellm", "/Notellm/model"),
        ("/a/model", "/a/b", "/a/model"),
    ],
)
def test_the_path_of_the_route(path: str, root_path: str, expected: str) -> None:
    assert route_path(path, root_path) == expected


@pytest.fixture
async def prefixed(runtime: Runtime, settings_for: Callable[..., Settings]) -> AsyncIterator[httpx.AsyncClient]:
    async with speaking_to(runtime, settings_for(root_path=f"{PREFIX}/")) as client:
        yield client


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_each_path_works_with_the_prefix_and_without(prefix: str, prefixed: httpx.AsyncClient) -> None:
    stored = await prefixed.post(f"{prefix}/notes/embed", json={"notes": NOTES})
    assert stored.status_code == 200, stored.text
    for path in (
        "/notes/a1",
        "/notes/a1/similar",
        "/v1/models/tiny",
        "/model",
        "/metrics",
        "/health/ready",
        "/docs",
        "/openapi.json",
    ):
        assert (await prefixed.get(prefix + path)).status_code == 200, path
    assert (await prefixed.head(f"{prefix}/health/live")).status_code == 200
    assert "error" in (await prefixed.get(f"{prefix}/v1/models/other")).json(), "OpenAI's form"
    assert problem(await prefixed.get(f"{prefix}/nope")) == "not-found"
    assert (await prefixed.delete(f"{prefix}/notes/a1")).status_code == 204
    assert PREFIX not in (await prefixed.get("/metrics")).text, "metrics name routes, which have no prefix"


async def test_another_prefix_is_not_found(prefixed: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    for path in ("/other/model", "/team/model", f"{PREFIX}{PREFIX}/model"):
        assert problem(await prefixed.get(path)) == "not-found"
    assert problem(await client.get(f"{PREFIX}/model")) == "not-found"


@pytest.mark.parametrize("path", ["/notes/embed/", "/notes//embed", "http://test//notes/embed"])
async def test_a_slash_too_many_is_no_redirect(path: str, client: httpx.AsyncClient) -> None:
    """A client that follows a redirect of a POST may send it without its body, or to another scheme."""
    answer = await client.post(path, json={"notes": NOTES[:1]})
    assert (answer.status_code, answer.json()["notes"][0]["status"]) == (200, "stored")
    assert (await client.get("/notes/a1/")).json() == (await client.get("/notes/a1")).json()


async def test_the_description_says_where_the_service_is(prefixed: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    assert (await prefixed.get("/openapi.json")).json()["servers"] == [{"url": PREFIX}]
    assert "servers" not in (await client.get("/openapi.json")).json()


async def test_no_redirect_names_a_scheme_or_a_host(prefixed: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "shop.example", "Host": "evil.example"}
    for path in ("/", PREFIX, f"{PREFIX}/"):
        answer = await prefixed.get(path, headers=headers)
        assert (answer.status_code, answer.headers["Location"]) == (307, f"{PREFIX}/docs")
    answer = await client.get("http://test//evil.example/docs", headers=headers)
    assert not answer.is_redirect
    assert (await client.get("/", headers=headers)).headers["Location"] == "docs"


@pytest.fixture(scope="module")
def behind(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with running_service(tiny_path, tmp_path_factory.mktemp("data"), NOTELLM_ROOT_PATH=PREFIX) as service:
        yield service


def test_over_real_connections(behind: RunningService) -> None:
    """The server has its own idea of HEAD, of paths and of the scheme."""
    with httpx.Client(base_url=behind.url, timeout=60, trust_env=False) as client:
        for prefix in PREFIXES:
            for path in ("/docs", "/metrics", "/openapi.json", "/model/", "/health/ready", "/nope"):
                full, head = client.get(prefix + path), client.head(prefix + path)
                assert full.status_code == head.status_code == (404 if path == "/nope" else 200), path
                assert head.content == b""
                assert int(head.headers["Content-Length"]) > 0
                assert {*head.headers} == {*full.headers}
            page = client.get(f"{prefix}/", follow_redirects=True)
            assert page.url.path == f"{PREFIX}/docs"
            answer = client.post(
                f"{prefix}/v1/embeddings/", json={"input": "grind finer?"}, headers={"Content-Type": "application/json"}
            )
            assert answer.status_code == 200, answer.text
    with httpx.Client(proxy=behind.url, timeout=60, trust_env=False) as client:
        assert client.get("http://service.example/model").json()["name"] == "tiny", (
            "a client that takes the service for its proxy"
        )
