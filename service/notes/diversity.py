"""Diverse neighbours: maximal marginal relevance (Carbonell & Goldstein, SIGIR 1998) over what an index has found.

From the candidates R, the next of the list S is always

    argmax over c in R without S of   λ * sim(c, query) - (1 - λ) * max over s in S of sim(c, s),        λ = 1 - diversity

Qdrant can do this itself (a server from 1.15 on, Edge 0.9 too), and neither adapter asks it to. Among equals it takes the last of an
order that starts with how its segments happen to hold them and that every pick changes; a candidate that equals the query, at λ = ½,
makes all the others equal but for rounding errors, and it picks by those. Here the more relevant comes first on every index.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from service.index import NoteFilter, NoteIndex, ScoredNote, Vector
from service.notes.nearest import nearest_page

# The nearest notes, which diversity reorders. Not a multiple of the page, since all pages must be cut from one list.
CANDIDATES = 200
# Cosines that agree in so many decimals differ by rounding alone.
_DECIMALS = 6


class Page(TypedDict):
    """Which part of a ranked list is wanted. `min_score` is a least cosine; with a `diversity` of 0 the list is by nearness."""

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
    """A page of the list that is `rank_diversely` of the `CANDIDATES` nearest notes, then the others by nearness.

    The list depends on neither `limit` nor `offset`; scores are cosines with `vector`, whatever the diversity.

    Raises:
        IndexUnavailable: see `NoteIndex`.
    """
    if not diversity:
        return await nearest_page(index, vector, where=where, limit=limit, offset=offset, min_score=min_score)
    nearest = await index.search(vector, where=where, limit=CANDIDATES, min_score=min_score, with_vectors=True)
    last = offset + limit
    page = (await asyncio.to_thread(_ranked, nearest, diversity, last))[offset:]
    if last > CANDIDATES == len(nearest):
        # By id, not by offset: among notes as near as the last candidate the index need not cut twice at the same place.
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
    """The formula above.

    Args:
        relevances: cosines of the candidates with the query, the highest first, (candidates,).
        vectors: unit vectors of the candidates, (candidates, dimensions).
        diversity: 0 keeps the order, 1 looks at nothing but the first one's relevance.
        count: how many to choose; fewer candidates are all chosen.

    Returns:
        Positions of the chosen ones in their order. Of equals, by six decimals, the one that stands first comes first.
    """
    if not len(relevances):
        return []
    similarities = vectors @ vectors.T
    gains = (1 - diversity) * relevances
    free = np.ones(len(relevances), dtype=bool)
    nearest = np.full(len(relevances), -np.inf)
    chosen = [0]  # nothing is chosen before it, so that relevance alone counts; and at λ = 0 all are equal
    while len(chosen) < min(count, len(relevances)):
        free[chosen[-1]] = False
        np.maximum(nearest, similarities[chosen[-1]], out=nearest)
        marginal = np.round(gains - diversity * nearest, _DECIMALS)
        chosen.append(int(np.where(free, marginal, -np.inf).argmax()))
    return chosen
