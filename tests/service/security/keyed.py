"""A service that requires API keys, and one key per scope."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from service.http import create_app
from service.observability.spans import Tracing
from service.security.keys import Scope, hash_key
from service.serving import Runtime, open_service
from service.settings import Settings

KEYS = {scope: f"nlm_marked-key-{scope.value}" for scope in Scope}


def write_keys(file: Path, more: str = "") -> Path:
    tables = [f'[{scope}]\nsha256 = ["{hash_key(key)}"]\nscopes = ["{scope}"]\n' for scope, key in KEYS.items()]
    file.write_text("\n".join(tables) + more)
    return file


def bearer(scope: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[Scope(scope)]}"}


def speaking_to(
    runtime: Runtime, settings: Settings, client: tuple[str, int] = ("127.0.0.1", 123), tracing: Tracing | None = None
) -> httpx.AsyncClient:
    app = create_app(runtime, settings, tracing=tracing)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=client)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


def problem(response: httpx.Response) -> str:
    """Returns the kind of an error."""
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["request_id"] == response.headers["X-Request-Id"]
    return str(response.json()["type"]).removeprefix("urn:notellm:problem:")


@asynccontextmanager
async def asking(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with open_service(settings) as runtime, speaking_to(runtime, settings) as client:
        yield client
