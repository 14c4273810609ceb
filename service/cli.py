"""`notellm-serve`: serves a checkpoint. Its commands import and export notes and change the index.

    NOTELLM_CHECKPOINT=path/to/checkpoint notellm-serve
    notellm-serve ingest notes.jsonl

All settings are environment variables; see docs/configuration.md.
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
from service.bulk.map_file import write_map
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
    """Serves the checkpoint of NOTELLM_CHECKPOINT. Settings are NOTELLM_* environment variables; see docs/configuration.md."""
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
app.command("map")(write_map)


async def _serve_traced(settings: Settings) -> None:
    async with open_tracing() as tracing:
        await _serve(settings, tracing)


async def _serve(settings: Settings, tracing: "Tracing | None") -> None:
    from transformers.utils.logging import disable_progress_bar

    from service.http import (
        Drain,
        DrainingServer,
        SlowClientProtocol,
        create_app,  # imported late because torch takes seconds: a wrong setting is reported before that
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
            # Uses h11, since uvicorn's other parser accepts request heads of any size. WebSockets are off: no route uses them.
            http=SlowClientProtocol,
            limit_concurrency=settings.max_connections,  # `SlowClientProtocol` applies it to connections
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            ws="none",
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=settings.trusted_proxies,
            timeout_keep_alive=settings.keep_alive_seconds,
            timeout_graceful_shutdown=settings.shutdown_seconds,
        )
        # When uvicorn ends, it raises the signal again for the previous handler, which must not kill us before we have cleaned up.
        for drained in (signal.SIGTERM, signal.SIGINT):
            signal.signal(drained, lambda *_: None)
        await DrainingServer(config, drain).serve()
    logger.info("stopped")


def freeze_garbage_collector() -> None:
    """Excludes all existing objects from garbage collection. Call it when the process is about to serve.

    Half a million objects of torch and transformers live until the process ends. A full collection would visit each of them, which
    would block the event loop for half a second, and Python would not start one until a quarter as many new objects exist.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # tells the collector how few objects are left, so that it starts the next full collection earlier


def main() -> None:
    """Runs the command line. Prints an expected error as one line on standard error and exits with 1."""
    try:
        app()
    except (StartupError, CommandError, NoteLLMError) as error:
        typer.echo(f"notellm-serve: {error}", err=True)
        sys.exit(1)
