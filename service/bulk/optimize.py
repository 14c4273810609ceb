"""`notellm-serve optimize`: builds a graph for the embedded index while no service runs."""

import signal
from typing import Annotated

import typer

from service.errors import CommandError
from service.settings import MIB, load_settings


def optimize(
    threads: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Threads that build the graph. The default is the number of cores.")
    ] = None,
    m: Annotated[
        int,
        typer.Option("--m", min=4, max=128, help="Edges per note. More edges improve recall, but take more time and memory."),
    ] = 16,
    ef_construct: Annotated[
        int,
        typer.Option(
            min=16, max=4096, help="Candidates considered for a note's edges. More improve recall, but take more time."
        ),
    ] = 100,
) -> None:
    """Builds a graph with which the embedded index finds neighbours without comparing every note. Stop the service first.

    While it runs, it needs three times the disk space of the index. If it is interrupted, the index stays as it was. Notes that are
    stored later are scanned until the next run.
    """
    from notellm.checkpoint import Checkpoint, vector_name_of
    from service.engines import usable_cores
    from service.index import Graph, embedded_directory, holds_index, optimize_index

    settings = load_settings()
    if settings.qdrant_url is not None:
        raise CommandError(
            "NOTELLM_QDRANT_URL is set, and a Qdrant server builds its own graph: unset the variable to optimize the embedded index"
        )
    directory = embedded_directory(settings)
    if not holds_index(directory):
        raise CommandError(f"there is no index in {directory}: set NOTELLM_DATA_DIR to the value that the service uses")
    checkpoint = Checkpoint.open(settings.checkpoint, verify="size")
    graph = Graph(m=m, ef_construct=ef_construct, threads=threads or usable_cores())
    typer.echo(f"building a graph in {directory}; you can interrupt it: the index stays as it is until the end", err=True)
    interrupted = signal.signal(signal.SIGINT, signal.SIG_DFL)  # during the build, no Python code runs that could handle SIGINT
    try:
        done = optimize_index(
            directory,
            vector_name=vector_name_of(checkpoint),
            dimensions=checkpoint.manifest.dimensions,
            graph=graph,
            min_free_bytes=settings.min_free_disk_mib * MIB,
        )
    finally:
        signal.signal(signal.SIGINT, interrupted)
    typer.echo(f"{directory}: {done.notes:,} notes, {done.indexed:,} of them in the graph, {done.seconds:.0f} s")
