"""`connect`: connects to the running service or, if none runs, to one inside this process, without a port."""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import typer
from fastapi import FastAPI
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.bulk.client import REQUEST_SECONDS, ServiceClient
from service.errors import CommandError
from service.settings import CLIENT_KEY, PREFIX, Settings, load_settings

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - the service listens on these, this command does not


class _Address(BaseSettings):
    """Address at which the service listens, from the environment. The service's other settings need not be set for a command."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore")

    host: str = Settings.model_fields["host"].default
    port: int = Settings.model_fields["port"].default

    @property
    def url(self) -> str:
        """The address as a URL."""
        host = _ANY_ADDRESS.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


@asynccontextmanager
async def connect(url: str | None, *, model: bool, patience: float) -> AsyncIterator[ServiceClient]:
    """Connects to a service: the one at `url`; without `url` the one that the settings name; if none runs, one in this process.

    Args:
        url: address of a service that must be running; None to use the settings.
        model: whether notes will be embedded. A service in this process loads the model only for that.
        patience: see `ServiceClient`.

    Raises:
        CommandError: there is no service at `url`.
        StartupError, CheckpointError: the service in this process does not start, for example because another process has the
            index open.
    """
    address = url or _Address().url
    if await _answers(address):
        async with _client(address, trust_env=url is not None) as http:
            yield ServiceClient(http, patience=patience)
        return
    if url is not None:
        raise CommandError(f"nothing answers at {url}: start the service, or omit --url to open the index without it")
    settings = load_settings()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    typer.echo(f"no service runs at {address}: opening the index directly", err=True)
    async with _own_app(settings, model=model) as app:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://in-process", timeout=None) as http:  # noqa: S113
            yield ServiceClient(http, patience=patience)


@asynccontextmanager
async def connect_running(url: str | None, *, patience: float) -> AsyncIterator[ServiceClient]:
    """Connects to the running service, at `url` or at the address in the settings; for commands that need a service.

    Raises:
        CommandError: no service is running there.
    """
    address = url or _Address().url
    if not await _answers(address):
        raise CommandError(
            f"no service runs at {address}: start it with the checkpoint that its index was made with, or set --url"
        )
    async with _client(address, trust_env=url is not None) as http:
        yield ServiceClient(http, patience=patience)


def _client(address: str, *, trust_env: bool) -> httpx.AsyncClient:
    typer.echo(f"using the service at {address}", err=True)
    key = os.environ.get(CLIENT_KEY)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(base_url=address, headers=headers, timeout=REQUEST_SECONDS + 30, trust_env=trust_env)


async def _answers(address: str) -> bool:
    """Whether a service runs at the address, busy or not."""
    try:
        async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
            answer = await http.get(f"{address}/health/live")
    except httpx.ConnectError:
        return False
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise CommandError(f"{address} does not answer like notellm-serve: {error or type(error).__name__}") from error
    if "api-version" not in answer.headers:
        raise CommandError(f"the server at {address} is not notellm-serve: set --url to the address of the service")
    return True


@asynccontextmanager
async def _own_app(settings: Settings, *, model: bool) -> AsyncIterator[FastAPI]:
    from notellm.checkpoint import Checkpoint
    from service.http import create_app, create_archive_app
    from service.index import open_index
    from service.notes import NoteArchive
    from service.observability import Metrics
    from service.serving import open_service

    if model:
        # Keys and rate limits are for clients of a service; the user of this command has direct access to the index.
        own = settings.model_copy(update={"api_keys_file": None, "requests_per_second": None, "tokens_per_second": None})
        async with open_service(own) as runtime:
            yield create_app(runtime, own)
        return
    checkpoint = Checkpoint.open(settings.checkpoint, verify="size")
    index = await open_index(settings, checkpoint)
    try:
        served = (await index.describe()).served  # during a migration this may not be the model of the settings
        yield create_archive_app(NoteArchive(index.of_model(served.vector), served.dimensions, Metrics()))
    finally:
        await index.close()
