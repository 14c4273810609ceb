"""`nearest_page`: one page of the notes nearest to a vector, such that all pages together contain each note once."""

from collections.abc import Sequence

from service.index import NoteFilter, NoteIndex, ScoredNote, Vector

# If a page begins or ends among equally near notes, this many more notes are read on both sides; the next number if that is too few.
_WIDER = (1, 100, 1000)


async def nearest_page(
    index: NoteIndex, vector: Vector, *, where: NoteFilter, limit: int, offset: int, min_score: float | None
) -> list[ScoredNote]:
    """Finds one page of the nearest notes. Equally near notes, such as those with the same text, come in the order of their ids.

    The index orders equally near notes differently when it is asked for a different number of notes. Without the ordering by id, a note
    could be on two pages or on none. This can still happen if more than about a thousand notes are equally near, or if the index
    searches a graph, which does not find every note.

    Args:
        index: the index to search.
        vector: the query, (dimensions,).
        where: the notes to consider.
        limit: maximum number of notes on the page.
        offset: number of notes before the page.
        min_score: the lowest cosine; None for no limit.

    Returns:
        At most `limit` notes, nearest first; an empty list beyond the end.

    Raises:
        IndexUnavailable: see `NoteIndex`.
    """
    window: Sequence[ScoredNote] = []
    start = 0
    for wider in _WIDER:
        start = max(offset - wider, 0)
        asked = offset + limit + wider - start
        window = await index.search(vector, where=where, limit=asked, offset=start, min_score=min_score)
        page = window[offset - start :][:limit]
        if not page:
            return []
        begins = start == 0 or window[0].score > page[0].score
        ends = len(window) < asked or window[-1].score < page[-1].score
        if begins and ends:
            break
    ordered = sorted(window, key=lambda note: (-note.score, note.id))
    return ordered[offset - start :][:limit]
