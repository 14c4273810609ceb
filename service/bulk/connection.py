"""`connect`: the running service, or where none runs one of our own in this process, without a port."""

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

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what a service listens on, not we


class _Address(BaseSettings):
    """Where the service of this environment listens; the command may lack its other settings."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore")

    host: str = Settings.model_fields["host"].default
    port: int = Settings.model_fields["port"].default

    @property
    def url(self) -> str:
        """Its address."""
        host = _ANY_ADDRESS.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


@asynccontextmanager
async def connect(url: str | None, *, model: bool, patience: float) -> AsyncIterator[ServiceClient]:
    """A client of the service at `url`; of that of this environment's settings if None and it runs; else of one of our own.

    Args:
        url: of a service that must run.
        model: whether notes are to be embedded. Our own service loads the model only for that.
        patience: see `ServiceClient`.

    Raises:
        CommandError: there is no service at `url`.
        StartupError, CheckpointError: our own does not start, for one because another process has the index open.
    """
    address = url or _Address().url
    if await _answers(address):
        async with _client(address, trust_env=url is not None) as http:
            yield ServiceClient(http, patience=patience)
        return
    if url is not None:
        raise CommandError(f"nothing answers at {url}: start the service, or leave --url out to open the index without it")
    settings = load_settings()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    typer.echo(f"no service runs at {address}: opening the index itself", err=True)
    async with _own_app(settings, model=model) as app:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://in-process", timeout=None) as http:  # noqa: S113
            yield ServiceClient(http, patience=patience)


@asynccontextmanager
async def connect_running(url: str | None, *, patience: float) -> AsyncIterator[ServiceClient]:
    """A client of the running service, at `url` or where this environment's settings say; for what only a service can do.

    Raises:
        CommandError: none runs.
    """
    address = url or _Address().url
    if not await _answers(address):
        raise CommandError(
            f"no service runs at {address}: start it with the checkpoint that its index was made with, or give --url"
        )
    async with _client(address, trust_env=url is not None) as http:
        yield ServiceClient(http, patience=patience)


def _client(address: str, *, trust_env: bool) -> httpx.AsyncClient:
    typer.echo(f"through the service at {address}", err=True)
    key = os.environ.get(CLIENT_KEY)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(base_url=address, headers=headers, timeout=REQUEST_SECONDS + 30, trust_env=trust_env)


async def _answers(address: str) -> bool:
    """Whether a service is there, busy or not."""
    try:
        async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
            answer = await http.get(f"{address}/health/live")
    except httpx.ConnectError:
        return False
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise CommandError(f"{address} does not answer as a service: {error or type(error).__name__}") from error
    if "api-version" not in answer.headers:
        raise CommandError(f"what answers at {address} is not notellm-serve: give its address as --url")
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
        # Keys and rates are for those who reach a service: whoever runs this command has the index itself.
        own = settings.model_copy(update={"api_keys_file": None, "requests_per_second": None, "tokens_per_second": None})
        async with open_service(own) as runtime:
            yield create_app(runtime, own)
        return
    checkpoint = Checkpoint.open(settings.checkpoint, verify="size")
    index = await open_index(settings, checkpoint)
    try:
        served = (await index.describe()).served  # in a migration it may be the other one than that of the settings
        yield create_archive_app(NoteArchive(index.of_model(served.vector), served.dimensions, Metrics()))
    finally:
        await index.close()
