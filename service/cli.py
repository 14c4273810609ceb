"""`notellm-serve`: serves a checkpoint; its commands take notes in and out, and change the index.

    NOTELLM_CHECKPOINT=path/to/checkpoint notellm-serve
    notellm-serve ingest notes.jsonl

All settings are environment variables, see docs/configuration.md.
"""

import asyncio
import gc
import logging
import signal
import sys
from typing import TYPE_CHECKING

import typer
import uvicorn

from notellm.errors import NoteLLMError
from service.bulk import commands
from service.bulk.migrate import migrate
from service.bulk.optimize import optimize
from service.errors import CommandError, StartupError
from service.http import MAX_HEAD_BYTES
from service.observability import configure_logging, open_tracing
from service.security import keygen
from service.settings import Settings, load_settings

if TYPE_CHECKING:
    from service.observability.spans import Tracing

logger = logging.getLogger(__name__)
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command()(keygen)


@app.callback(invoke_without_command=True)
def serve(context: typer.Context) -> None:
    """Serves the checkpoint of NOTELLM_CHECKPOINT. Settings are NOTELLM_* environment variables: docs/configuration.md."""
    if context.invoked_subcommand is not None:
        return
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    asyncio.run(_serve_traced(settings))


app.command()(commands.ingest)
app.command()(commands.export)
app.command("import")(commands.restore)
app.command()(migrate)
app.command()(optimize)


async def _serve_traced(settings: Settings) -> None:
    async with open_tracing() as tracing:
        await _serve(settings, tracing)


async def _serve(settings: Settings, tracing: "Tracing | None") -> None:
    from transformers.utils.logging import disable_progress_bar

    from service.http import (
        Drain,
        DrainingServer,
        SlowClientProtocol,
        create_app,  # torch takes seconds to import: a wrong setting is told before that
    )
    from service.serving import open_service

    disable_progress_bar()
    async with open_service(settings) as runtime:
        freeze_garbage_collector()
        drain = Drain()
        config = uvicorn.Config(
            create_app(runtime, settings, drain, tracing),
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            # uvicorn's other parser keeps heads of any size. There is nothing to upgrade to.
            http=SlowClientProtocol,
            limit_concurrency=settings.max_connections,  # as `SlowClientProtocol` means it
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            ws="none",
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=settings.trusted_proxies,
            timeout_graceful_shutdown=settings.shutdown_seconds,
        )
        # uvicorn ends, then raises the signal once more for whoever handled it before: that must not end us half-way.
        for drained in (signal.SIGTERM, signal.SIGINT):
            signal.signal(drained, lambda *_: None)
        await DrainingServer(config, drain).serve()
    logger.info("stopped")


def freeze_garbage_collector() -> None:
    """Takes everything that there is now out of the collector's sight; for a process that is about to serve.

    Half a million objects of torch and transformers stay until the end. A full collection looks at each, which holds the event loop up
    for half a second, and does not even begin before a quarter as many new ones have gathered.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # the collector learns how little is left


def main() -> None:
    """Runs the command line. An expected error is one line on standard error and exit code 1."""
    try:
        app()
    except (StartupError, CommandError, NoteLLMError) as error:
        typer.echo(f"notellm-serve: {error}", err=True)
        sys.exit(1)
