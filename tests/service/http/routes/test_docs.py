"""The interactive description: everything that it loads comes from the service, under a policy that allows nothing else."""

import re
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256

import httpx
import pytest

from service.http.routes.docs import ICON, SCRIPT, STYLE
from service.serving import Runtime
from service.settings import Settings
from tests.service.security.keyed import problem, speaking_to

PREFIX = "/notellm"


def loaded(page: httpx.Response) -> set[str]:
    """What a browser loads for the page, as addresses."""
    links = re.findall(r"""(?:src|href)="([^"]+)"|url: '([^']+)'""", page.text)
    return {str(page.url.join(first or second)) for first, second in links}


@pytest.mark.parametrize(
    ("root_path", "page", "base"),
    [
        ("", "http://test/docs", "http://test"),
        ("", "http://test/docs/", "http://test"),
        (PREFIX, f"https://test{PREFIX}/docs", f"https://test{PREFIX}"),
        (PREFIX, f"https://test{PREFIX}/docs/", f"https://test{PREFIX}"),
        (PREFIX, "http://test/docs", "http://test"),
    ],
)
async def test_the_page_finds_its_files_behind_any_prefix(
    root_path: str, page: str, base: str, runtime: Runtime, settings_for: Callable[..., Settings]
) -> None:
    async with speaking_to(runtime, settings_for(root_path=root_path)) as client:
        answer = await client.get(page)
        assert answer.status_code == 200
        assert loaded(answer) == {
            f"{base}{path}" for path in (f"/docs/{SCRIPT}", f"/docs/{STYLE}", f"/docs/{ICON}", "/openapi.json")
        }
        for address in loaded(answer):
            assert (await client.get(address)).status_code == 200, address
        assert f"window.location.origin + '{root_path}/docs/oauth2-redirect'" in answer.text
        assert (await client.get("/docs/oauth2-redirect")).status_code == 200


async def test_a_proxy_that_strips_an_unknown_prefix(client: httpx.AsyncClient) -> None:
    """Without the setting: the page is found, and so is the description; only `servers` does not know the prefix."""
    answer = await client.get("/docs")
    answer.request.url = httpx.URL("https://shop.example/any/prefix/docs")
    assert all(address.startswith("https://shop.example/any/prefix/") for address in loaded(answer))


async def test_the_policy_allows_what_the_page_loads_and_nothing_else(client: httpx.AsyncClient) -> None:
    answer = await client.get("/docs")
    directives = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
    (inline,) = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)
    digest = b64encode(sha256(inline.encode()).digest()).decode()
    assert directives == {
        "default-src": "'none'", "script-src": f"'self' 'sha256-{digest}'", "style-src": "'self' 'unsafe-inline'",
        "img-src": "data: 'self'", "connect-src": "'self'", "frame-ancestors": "'none'", "base-uri": "'none'",
        "form-action": "'none'",
    }  # fmt: skip
    assert "http" not in re.sub(r"<title>.*", "", answer.text).replace("-", " ").split("swagger", 1)[0]
    assert '"validatorUrl": null' in answer.text, "the address is not sent to Swagger's own server"


@pytest.mark.parametrize(("name", "kind"), [(SCRIPT, "text/javascript"), (STYLE, "text/css"), (ICON, "image/png")])
async def test_the_files_are_those_of_a_recent_swagger_ui(name: str, kind: str, client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/docs/{name}")
    assert answer.headers["Content-Type"].split(";")[0] == kind
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    if name == SCRIPT:
        (version,) = set(re.findall(r'PACKAGE_VERSION:"(\d+)\.(\d+)\.\d+"', answer.text))
        assert tuple(map(int, version)) >= (5, 32)


async def test_no_other_file_is_given(client: httpx.AsyncClient) -> None:
    for name in ("redoc.standalone.js", "..%2Fcore.py", "%2e%2e%2fconsts.py", "swagger-ui.css%00"):
        assert problem(await client.get(f"/docs/{name}")) == "not-found"
