"""An archive of made-up notes, over a real embedded index."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from notellm.note import Note
from service.index import EdgeIndex, IndexedNote
from service.notes import NoteArchive
from service.observability import Metrics

DIMENSIONS = 8


def clusters(count: int, groups: int = 3) -> npt.NDArray[np.float32]:
    """Unit vectors around some directions: note i belongs to group i % groups."""
    draw = np.random.default_rng(0)
    centres = np.eye(groups, DIMENSIONS)
    vectors = centres[np.arange(count) % groups] + draw.normal(0, 0.05, (count, DIMENSIONS))
    unit: npt.NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def stored(count: int, groups: int = 3, first: int = 0) -> list[IndexedNote]:
    names = ("beer", "coffee", "tea")
    return [
        IndexedNote(
            Note(
                id=f"n{first + number}",
                title=f"Note {number}",
                category=names[number % groups],
                hashtags=(names[number % groups],),
            ).payload(),
            vector,
        )
        for number, vector in enumerate(clusters(count, groups))
    ]


@asynccontextmanager
async def archive_of(folder: Path, notes: Sequence[IndexedNote], name: str = "m-1") -> AsyncIterator[NoteArchive]:
    index = EdgeIndex.open(folder, vector_name=name, dimensions=DIMENSIONS)
    if notes:
        await index.upsert(notes, seen={})
    yield NoteArchive(index, DIMENSIONS, Metrics())
    await index.close()
