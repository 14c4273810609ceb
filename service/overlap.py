"""`neighbour_overlap`: how far two models agree about which notes are near to each other."""

from dataclasses import dataclass, replace

import numpy as np

from service.index import NoteFilter, NoteIndex


@dataclass(frozen=True)
class Overlap:
    """Shared neighbours of two models.

    Attributes:
        notes: that were compared; they have vectors of both models.
        k: neighbours of each.
        mean: share of the k nearest notes by one model that are among those by the other, 0 to 1; None without notes.
    """

    notes: int
    k: int
    mean: float | None


async def neighbour_overlap(first: NoteIndex, second: NoteIndex, *, sample: int, k: int) -> Overlap:
    """Compares the nearest notes of a sample, which is random, since points lie in the order of hashes.

    Args:
        first: the notes by the vectors of one model.
        second: the same by those of the other.
        sample: notes to compare.
        k: neighbours of each.
    """
    page = await first.scroll(limit=sample)
    others = await second.get([note.id for note in page.notes], with_vectors=True)
    shares = []
    for note in page.notes:
        other = others.get(note.id)
        if note.vector is None or other is None or other.vector is None:
            continue
        where = replace(NoteFilter(), exclude=(note.id,))
        near = {found.id for found in await first.search(note.vector, where=where, limit=k)}
        also = {found.id for found in await second.search(other.vector, where=where, limit=k)}
        shares.append(len(near & also) / max(len(near), len(also), 1))
    return Overlap(len(shares), k, float(np.mean(shares)) if shares else None)
