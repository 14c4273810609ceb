"""Notes with vectors, for tests of an index by itself."""

import numpy as np

from notellm import Note
from service.index import IndexedNote

DIMENSIONS = 16


def indexed_notes(count: int) -> list[IndexedNote]:
    """The first of a fixed sequence; unit vectors, (16,)."""
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((count, DIMENSIONS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    notes = [
        Note(id=f"n{number}", title=f"title {number}", content="sour " * (number % 40), category="coffee")
        for number in range(count)
    ]
    return [IndexedNote(note.payload(), vector) for note, vector in zip(notes, vectors, strict=True)]
