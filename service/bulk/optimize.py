"""`notellm-serve optimize`: gives the embedded index a graph, while no service runs."""

import signal
from typing import Annotated

import typer

from service.errors import CommandError
from service.settings import MIB, load_settings


def optimize(
    threads: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Threads that build the graph; as many as cores if left out.")
    ] = None,
    m: Annotated[
        int, typer.Option("--m", min=4, max=128, help="Edges of a note: more finds more, and takes longer and more memory.")
    ] = 16,
    ef_construct: Annotated[
        int, typer.Option(min=16, max=4096, help="Candidates for a note's edges: more finds more, and takes longer.")
    ] = 100,
) -> None:
    """Builds the graph by which the embedded index finds neighbours without looking at every note. No service may have it open.

    It needs three times the disk space of the index meanwhile. Interrupted at any point, the index is as it was. Notes that are
    written afterwards are scanned until the next time.
    """
    from notellm.checkpoint import Checkpoint, vector_name_of
    from service.engines import usable_cores
    from service.index import Graph, optimize_index

    settings = load_settings()
    if settings.qdrant_url is not None:
        raise CommandError(
            "NOTELLM_QDRANT_URL is set, and a Qdrant server builds its graph itself: unset it for the embedded index"
        )
    directory = settings.data_dir / "index"
    if not (directory / "index.json").exists():
        raise CommandError(f"there is no index in {directory}: set NOTELLM_DATA_DIR as for the service")
    checkpoint = Checkpoint.open(settings.checkpoint, verify="size")
    graph = Graph(m=m, ef_construct=ef_construct, threads=threads or usable_cores())
    typer.echo(f"building a graph in {directory}, which can be interrupted: the index stays as it is until the end", err=True)
    interrupted = signal.signal(signal.SIGINT, signal.SIG_DFL)  # the library does not come back to Python to be told
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
