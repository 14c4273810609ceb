"""The service behind a real nginx, with the block of docs/operations.md."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from harness.processes import ROOT
from harness.service import free_port, running_service
from tests.clock import until_now
from tests.service.calls import NOTES

pytestmark = [pytest.mark.integration, pytest.mark.needs("nginx")]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
(BLOCK,) = re.findall(r"^```nginx\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
STRIPS = "proxy_pass http://notellm/;"
KEEPS = "proxy_pass http://notellm;"
# Everything that nginx would write stays in the test's folder. One process, which stays the user that owns that folder.
AROUND = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{
log_format reuse '$request_method $upstream_addr $status'; access_log {folder}/access.log reuse;
client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u;
scgi_temp_path {folder}/s;
{block}
}}
"""


@dataclass(frozen=True)
class Proxied:
    """Both ways to the same service."""

    url: str
    straight: str


@contextmanager
def nginx(block: str, folder: Path) -> Iterator[None]:
    folder.mkdir()
    file = folder / "nginx.conf"
    file.write_text(AROUND.format(folder=folder, block=block))
    process = subprocess.Popen(["nginx", "-p", folder, "-e", folder / "error.log", "-c", file])
    try:
        until_now(lambda: process.poll() is not None or (folder / "pid").exists())
        assert process.poll() is None, (folder / "error.log").read_text()
        yield
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module", params=[STRIPS, KEEPS], ids=["strips", "keeps"])
def proxied(request: pytest.FixtureRequest, tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    """With the page's settings of the service, and its block with other ports."""
    folder, port = tmp_path_factory.mktemp("proxied"), free_port()
    named = dict(re.findall(r"`(NOTELLM_(?:ROOT_PATH|TRUSTED_PROXIES))=([^`]+)`", PAGE))
    assert len(named) == 2
    with running_service(tiny_path, folder / "data", **named) as service:
        assert STRIPS in BLOCK
        block = BLOCK.replace("127.0.0.1:8000", service.url.removeprefix("http://")).replace(
            "listen 80", f"listen 127.0.0.1:{port}"
        )
        with nginx(block.replace(STRIPS, request.param), folder / "nginx"):
            yield Proxied(f"http://127.0.0.1:{port}{named['NOTELLM_ROOT_PATH']}", service.url)


@pytest.fixture
def client(proxied: Proxied) -> Iterator[httpx.Client]:
    """A client on the other side of TLS and of another host name."""
    headers = {"Host": "shop.example", "X-Forwarded-Proto": "https"}
    with httpx.Client(base_url=proxied.url, headers=headers, timeout=60, trust_env=False) as speaking:
        yield speaking


def test_every_kind_of_call(client: httpx.Client) -> None:
    assert client.post("/notes/embed", json={"notes": NOTES}).status_code == 200
    assert client.post("/notes/embed/", json={"notes": NOTES[:1]}).json()["notes"][0]["status"] == "unchanged"
    assert client.get("/notes/a1/similar").status_code == 200
    assert client.post("/v1/embeddings", json={"input": "grind finer?"}).status_code == 200
    head = client.head("/health/ready")
    assert (head.status_code, head.content) == (200, b"")
    assert client.get("/nope").json()["type"].endswith(":not-found")
    large = {"notes": [{"id": f"n{number}", "content": "x" * 12_000} for number in range(250)], "vectors": False}
    assert client.post("/notes/embed", json=large).status_code == 200, "3 MB are let through"
    assert client.post("/notes/embed", content=b" " * (4 * 2**20 + 1)).status_code == 413


def test_no_redirect_leaves_the_proxy(client: httpx.Client, proxied: Proxied) -> None:
    path = httpx.URL(proxied.url).path
    for asked in (path, f"{path}/"):
        answer = client.get(httpx.URL(proxied.url).copy_with(path=asked))
        assert answer.is_redirect
        assert answer.headers["Location"].startswith(f"{path}/"), asked
    page = client.get("/", follow_redirects=True)
    assert page.url.path == f"{path}/docs"
    addresses = re.findall(r'(?:src|href)="([^"]+)"|url: \'([^\']+)\'', page.text)
    assert len(addresses) == 4
    for first, second in addresses:
        assert client.get(page.url.join(first or second)).status_code == 200
    assert client.get("/openapi.json").json()["servers"] == [{"url": path}]


def test_connections_to_the_service_are_used_again(client: httpx.Client, proxied: Proxied) -> None:
    for _ in range(20):
        assert client.get("/health/live").status_code == 200
    assert len(connections_to(int(proxied.straight.rpartition(":")[2]))) <= 2, "20 requests needed no 20 connections"


def connections_to(port: int) -> list[str]:
    """The established connections to a port of this machine, by the side that has opened them."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [row[1] for row in rows if row[2].endswith(f":{port:04X}") and row[3] == "01"]
