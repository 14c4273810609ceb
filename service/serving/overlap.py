"""`neighbour_overlap`: measures how much two models agree on nearest notes."""

from dataclasses import dataclass, replace
from uuid import uuid4

import numpy as np

from service.index import NoteFilter, NoteIndex, Vector

PAGE = 128


@dataclass(frozen=True)
class Overlap:
    """Shared neighbours of two models.

    Attributes:
        notes: number of compared notes; each has vectors of both models.
        k: number of neighbours per note.
        mean: mean share of the k nearest notes that both models have in common, 0 to 1; None without notes.
    """

    notes: int
    k: int
    mean: float | None


async def neighbour_overlap(first: NoteIndex, second: NoteIndex, *, sample: int, k: int) -> Overlap:
    """Compares the nearest notes of a sample.

    Args:
        first: the index with the vectors of one model.
        second: the same index with the vectors of the other model.
        sample: number of notes to compare; fewer are compared if the index has fewer with both vectors.
        k: number of neighbours per note.
    """
    shares = []
    for note_id, (one, other) in (await notes_of_both(first, second, sample)).items():
        where = replace(NoteFilter(), exclude=(note_id,))
        near = {found.id for found in await first.search(one, where=where, limit=k)}
        also = {found.id for found in await second.search(other, where=where, limit=k)}
        shares.append(len(near & also) / max(len(near), len(also), 1))
    return Overlap(len(shares), k, float(np.mean(shares)) if shares else None)


async def notes_of_both(first: NoteIndex, second: NoteIndex, most: int) -> dict[str, tuple[Vector, Vector]]:
    """Returns up to `most` notes that have vectors of both models, with these vectors.

    The sample is random: points are ordered by hash, and reading starts at a random place and wraps around at the end.
    """
    place = str(uuid4())
    found: dict[str, tuple[Vector, Vector]] = {}
    for start, end in ((place, None), (None, place)):
        following: str | None = start
        while len(found) < most:
            page = await first.scroll(start=following, limit=PAGE)
            vectors = {note.id: note.vector for note in page.notes if note.vector is not None}
            others = await second.get(list(vectors), with_vectors=True) if vectors else {}
            for note_id, other in others.items():
                if other.vector is not None:
                    found[note_id] = vectors[note_id], other.vector
            following = page.next
            if following is None or (end is not None and following >= end):
                break
    return dict(list(found.items())[:most])
