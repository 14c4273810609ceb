"""`notellm-serve ingest`, `export` and `import`: they use the running service or, if none runs, open the index themselves."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from service.bulk.backup import Footer, export as write_backup, read_header
from service.bulk.batches import ItemT
from service.bulk.connection import connect
from service.bulk.ingest import IngestJob
from service.bulk.progress import Progress, rejects_path
from service.bulk.restore import EmbedJob, RestoreJob
from service.bulk.run import BulkRun, Job
from service.errors import CommandError

UrlOption = Annotated[
    str | None,
    typer.Option(
        help="Address of the service. The default is the address of NOTELLM_HOST and NOTELLM_PORT; if no service runs there, the "
        "command opens the index itself. An API key is read from NOTELLM_API_KEY."
    ),
]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Exit with code 1 if rows were rejected. All other rows are still stored.")
]
StateOption = Annotated[
    Path | None,
    typer.Option(help="Directory for progress and rejected rows. The default is the directory of the file.", file_okay=False),
]
PatienceOption = Annotated[
    float, typer.Option(min=0, help="Seconds to wait for a busy or unreachable service before giving up.")
]
PATIENCE_SECONDS = 600.0


def ingest(
    notes: Annotated[
        Path, typer.Argument(help="Notes: .jsonl, .csv (.gz too) or .parquet, with the fields of POST /notes/embed.")
    ],
    hashtags: Annotated[
        bool, typer.Option("--hashtags", help="Store notes that have no hashtags with suggested ones. Slow.")
    ] = False,
    strict: StrictOption = False,
    url: UrlOption = None,
    state_dir: StateOption = None,
    patience: PatienceOption = PATIENCE_SECONDS,
) -> None:
    """Embeds and stores the notes of a file. If it is interrupted, run the same command again to continue.

    Unchanged notes are not embedded again. Bad rows are written to NOTES.rejects.jsonl with their row number and the reason.
    """

    async def work() -> Counter[str]:
        async with connect(url, model=True, patience=patience) as client:
            model = await client.get("/model")
            job = f"ingest{' --hashtags' if hashtags else ''} {model['name']}-{model['fingerprint']}"
            return await _run(notes, IngestJob(client, hashtags=hashtags), job, state_dir)

    _report(asyncio.run(work()), notes, state_dir, strict=strict)


def export(
    file: Annotated[Path, typer.Argument(help="File to write: .jsonl, or .jsonl.gz.")],
    url: UrlOption = None,
    patience: PatienceOption = PATIENCE_SECONDS,
) -> None:
    """Writes all notes with their vectors to a file, as a backup. The file appears when it is complete."""

    async def work() -> Footer:
        async with connect(url, model=False, patience=patience) as client:
            return await write_backup(client, file)

    written = asyncio.run(work())
    deleted = f" and {written.deleted:,} deletions" if written.deleted else ""
    typer.echo(f"{file}: {written.notes:,} notes{deleted}")
    if written.without_vector:
        typer.echo(
            f"notes without a vector: {written.without_vector:,}. import stores them only with --embed. Export again when the "
            "migration has filled in their vectors"
        )


def restore(
    file: Annotated[Path, typer.Argument(help="File written by `notellm-serve export`.")],
    embed: Annotated[
        bool, typer.Option("--embed", help="Embed the notes again instead of using the vectors of the file: for another model.")
    ] = False,
    strict: StrictOption = False,
    url: UrlOption = None,
    state_dir: StateOption = None,
    patience: PatienceOption = PATIENCE_SECONDS,
) -> None:
    """Stores the notes of a backup with their vectors. Notes that the index already holds are replaced only by a higher version."""

    async def work() -> Counter[str]:
        header = await asyncio.to_thread(read_header, file)
        async with connect(url, model=embed, patience=patience) as client:
            first = await client.get("/admin/notes", limit=1)
            served = first["vector_name"]
            if embed:
                return await _run(
                    file, EmbedJob(client, served, empty=not first["total"]), f"import --embed {served}", state_dir
                )
            if served != header.vector_name:
                raise CommandError(
                    f"{file} holds vectors of {header.vector_name} and the index holds vectors of {served}; the two cannot be "
                    "compared: add --embed to embed the notes again"
                )
            return await _run(file, RestoreJob(client, served), f"import {served}", state_dir)

    _report(asyncio.run(work()), file, state_dir, strict=strict)


async def _run(path: Path, job: Job[ItemT], name: str, state_dir: Path | None) -> Counter[str]:
    with Progress(path, name, state_dir or path.parent) as progress:
        return await BulkRun(path, job, progress).run()


def _report(counts: Counter[str], path: Path, state_dir: Path | None, *, strict: bool) -> None:
    order = ("stored", "deleted", "unchanged", "stale", "kept", "rejected")
    typer.echo(f"{path}: {', '.join(f'{counts[name]:,} {name}' for name in order if counts[name]) or 'no notes'}")
    if counts["rejected"]:
        typer.echo(f"rejected rows: {rejects_path(path, state_dir or path.parent)}")
        if strict:
            raise typer.Exit(1)
