"""`notellm-serve map`: writes all notes with their places on a map, for programs that show larger maps than the playground does."""

import asyncio
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from tqdm import tqdm

from service.bulk.backup import pages
from service.bulk.client import ServiceClient
from service.bulk.commands import PATIENCE_SECONDS, PatienceOption, UrlOption
from service.bulk.connection import connect
from service.bulk.report import Report
from service.durable_files import open_durably
from service.errors import CommandError

if TYPE_CHECKING:
    from service.notes import Vector

TEXTS = ("id", "title", "content", "category", "created_at")


def write_map(
    output: Annotated[Path, typer.Option("--output", help="File to write, in Parquet.")],
    url: UrlOption = None,
    patience: PatienceOption = PATIENCE_SECONDS,
) -> None:
    """Writes all notes to a file, each with its place on a map (columns `x` and `y`), as the program `embedding-atlas` reads it.

    Notes are read as by `export`. Their vectors stay in memory: half a gigabyte for a million notes of 128 dimensions.
    """
    for module, package in (("umap", "umap-learn"), ("pyarrow", "pyarrow")):
        if find_spec(module) is None:
            raise CommandError(f"a map needs the package {package}: pip install 'notellm[map,parquet]'")

    async def read() -> "tuple[list[dict[str, Any]], list[Vector]]":
        async with connect(url, model=False, patience=patience) as client:
            return await read_all(client)

    notes, vectors = asyncio.run(read())
    write_parquet(output, notes, placed(vectors))
    typer.echo(f"{output}: {len(notes):,} notes. To look at it: embedding-atlas {output} --text title --x x --y y")


async def read_all(client: ServiceClient) -> "tuple[list[dict[str, Any]], list[Vector]]":
    """Reads all notes that have a vector, and their vectors."""
    from service.notes import vector_from_base64

    notes: list[dict[str, Any]] = []
    vectors: list[Vector] = []
    total = 0
    with Report("map") as report:
        async for page in pages(client):
            total = page.get("total", total)
            for one in page["notes"]:
                if one.get("vector") is None:  # a migration has not filled it in yet
                    continue
                notes.append(one["note"])
                vectors.append(vector_from_base64(one["vector"]))
            report.advance(len(page["notes"]), min(len(notes) / max(total, 1), 1.0))
    return notes, vectors


def placed(vectors: "list[Vector]") -> "Vector":
    """Returns the positions, (notes, 2), and shows how far the work is."""
    from service.note_map import place

    with tqdm(
        desc="map", total=100, bar_format="{desc}: {percentage:.0f}%, {elapsed}", disable=None
    ) as bar:  # in terminals only
        stacked = np.stack(vectors) if vectors else np.zeros((0, 1), dtype=np.float32)

        def show(share: float) -> None:
            bar.update(round(100 * share) - bar.n)

        return place(stacked, show)


def write_parquet(output: Path, notes: list[dict[str, Any]], positions: "Vector") -> None:
    """Writes the file, which appears when it is complete.

    Raises:
        CommandError: it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = {name: pa.array([note.get(name) for note in notes], pa.string()) for name in TEXTS}
    hashtags = pa.array([list(note.get("hashtags") or ()) for note in notes], pa.list_(pa.string()))
    table = pa.table({**texts, "hashtags": hashtags, "x": positions[:, 0], "y": positions[:, 1]})
    try:
        with open_durably(output) as stream:
            pq.write_table(table, stream)
    except OSError as error:
        raise CommandError(f"{output} cannot be written: {error}") from error
