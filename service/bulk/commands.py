"""`notellm-serve ingest`, `export` and `import`: through the running service, or by the index itself where none runs."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from service.bulk.backup import Footer, export as write_backup, read_header
from service.bulk.batches import ItemT
from service.bulk.connection import connect
from service.bulk.ingest import IngestJob
from service.bulk.progress import Progress
from service.bulk.restore import EmbedJob, RestoreJob
from service.bulk.run import BulkRun, Job
from service.errors import CommandError

UrlOption = Annotated[
    str | None,
    typer.Option(
        help="Address of the service. Without it, that of NOTELLM_HOST and NOTELLM_PORT; and if none runs there, the index is opened "
        "by this command. An API key is read from NOTELLM_API_KEY."
    ),
]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Exit code 1 if rows were rejected. All others are stored all the same.")
]
StateOption = Annotated[
    Path | None, typer.Option(help="Where progress and rejected rows are kept; beside the file if left out.", file_okay=False)
]
PatienceOption = Annotated[
    float, typer.Option(min=0, help="Seconds to wait for a service that is busy or away, before giving up.")
]
PATIENCE_SECONDS = 600.0


def ingest(
    notes: Annotated[
        Path, typer.Argument(help="Notes: .jsonl, .csv (.gz too) or .parquet, with the fields of POST /notes/embed.")
    ],
    hashtags: Annotated[
        bool, typer.Option("--hashtags", help="Notes that have no hashtags are stored with suggested ones. Slow.")
    ] = False,
    strict: StrictOption = False,
    url: UrlOption = None,
    state_dir: StateOption = None,
    patience: PatienceOption = PATIENCE_SECONDS,
) -> None:
    """Embeds and stores the notes of a file. Killed at any point, the same command goes on.

    Unchanged notes are not embedded again. Bad rows are written to NOTES.rejects.jsonl with their number and the reason.
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
    """Writes all notes with their vectors to a file, for a backup. The file appears when it is whole."""

    async def work() -> Footer:
        async with connect(url, model=False, patience=patience) as client:
            return await write_backup(client, file)

    written = asyncio.run(work())
    deleted = f", and {written.deleted:,} that were deleted" if written.deleted else ""
    typer.echo(f"{file}: {written.notes:,} notes{deleted}")
    if written.without_vector:
        typer.echo(
            f"notes without a vector: {written.without_vector:,}, which import takes with --embed only. Export again when the "
            "migration has filled them in"
        )


def restore(
    file: Annotated[Path, typer.Argument(help="File that `notellm-serve export` has written.")],
    embed: Annotated[
        bool, typer.Option("--embed", help="Embed the notes again instead of taking the vectors over: for another model.")
    ] = False,
    strict: StrictOption = False,
    url: UrlOption = None,
    state_dir: StateOption = None,
    patience: PatienceOption = PATIENCE_SECONDS,
) -> None:
    """Stores the notes of a backup with their vectors. What the index holds already is kept unless it is of a lower version."""

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
                    f"{file} holds vectors of {header.vector_name} and the index those of {served}, which cannot be compared: "
                    "add --embed to embed the notes again"
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
        typer.echo(f"rejected rows: {(state_dir or path.parent) / path.name}.rejects.jsonl")
        if strict:
            raise typer.Exit(1)
