"""Diverse neighbours: maximal marginal relevance (Carbonell & Goldstein, SIGIR 1998) over the notes that an index has found.

Each step moves one candidate from R to the end of the list S:

    argmax over c in R without S of   λ * sim(c, query) - (1 - λ) * max over s in S of sim(c, s),        λ = 1 - diversity

Qdrant can do this itself (servers from 1.15 on, and Edge 0.9), but neither adapter uses it, because its order of equal candidates is
arbitrary: it depends on the segments and changes with every pick. If λ = ½ and a candidate equals the query, all other candidates are
equal except for rounding errors, and Qdrant picks by those errors. Here the more relevant candidate comes first on every index.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from notellm.messages import CANDIDATES
from service.index import NoteFilter, NoteIndex, ScoredNote, Vector
from service.notes.nearest import nearest_page

# Cosines that agree in this many decimals differ only by rounding.
_DECIMALS = 6


class Page(TypedDict):
    """The wanted part of a ranked list. `min_score` is the lowest cosine; with a `diversity` of 0 the nearest notes come first."""

    limit: int
    offset: int
    min_score: float | None
    diversity: float


async def search_page(
    index: NoteIndex,
    vector: Vector,
    *,
    where: NoteFilter,
    limit: int,
    offset: int,
    min_score: float | None,
    diversity: float,
) -> list[ScoredNote]:
    """Returns a page of a list: first the `CANDIDATES` nearest notes in the order of `rank_diversely`, then the others by nearness.

    The list depends on neither `limit` nor `offset`. Scores are cosines with `vector` for every diversity.

    Raises:
        IndexUnavailable: see `NoteIndex`.
    """
    if not diversity:
        return await nearest_page(index, vector, where=where, limit=limit, offset=offset, min_score=min_score)
    nearest = await index.search(vector, where=where, limit=CANDIDATES, min_score=min_score, with_vectors=True)
    last = offset + limit
    page = (await asyncio.to_thread(_ranked, nearest, diversity, last))[offset:]
    if last > CANDIDATES == len(nearest):
        # Exclude the candidates by id, not by offset: the index may order notes that are as near as the last candidate differently.
        others = replace(where, exclude={*where.exclude, *(note.id for note in nearest)})
        start = max(offset - CANDIDATES, 0)
        rest = last - CANDIDATES - start
        page += await nearest_page(index, vector, where=others, limit=rest, offset=start, min_score=min_score)
    return page


def _ranked(found: Sequence[ScoredNote], diversity: float, count: int) -> list[ScoredNote]:
    candidates = sorted(found, key=lambda note: (-round(note.score, _DECIMALS), note.id))
    relevances = np.array([note.score for note in candidates])
    vectors = np.array([note.vector for note in candidates], dtype=np.float32)
    return [candidates[position] for position in rank_diversely(relevances, vectors, diversity, count)]


def rank_diversely(
    relevances: npt.NDArray[np.floating], vectors: npt.NDArray[np.floating], diversity: float, count: int
) -> Sequence[int]:
    """Applies the formula above.

    Args:
        relevances: cosines of the candidates with the query, highest first, (candidates,).
        vectors: unit vectors of the candidates, (candidates, dimensions).
        diversity: 0 keeps the order; 1 ignores the relevance of every candidate except the first.
        count: how many to choose; if there are fewer candidates, all are chosen.

    Returns:
        Positions of the chosen candidates, in the order of choice. Candidates that agree in six decimals keep their order.
    """
    if not len(relevances):
        return []
    similarities = vectors @ vectors.T
    gains = (1 - diversity) * relevances
    free = np.ones(len(relevances), dtype=bool)
    nearest = np.full(len(relevances), -np.inf)
    chosen = [0]  # only relevance counts for the first one; at λ = 0 all are equal
    while len(chosen) < min(count, len(relevances)):
        free[chosen[-1]] = False
        np.maximum(nearest, similarities[chosen[-1]], out=nearest)
        marginal = np.round(gains - diversity * nearest, _DECIMALS)
        chosen.append(int(np.where(free, marginal, -np.inf).argmax()))
    return chosen
