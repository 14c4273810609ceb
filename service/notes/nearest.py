"""`nearest_page`: a part of the list of notes by nearness, cut so that pages put together have each note once."""

from collections.abc import Sequence

from service.index import NoteFilter, NoteIndex, ScoredNote, Vector

# So many notes more are looked at on both sides of a page, as long as it begins or ends among equally near ones.
_WIDER = (1, 100, 1000)


async def nearest_page(
    index: NoteIndex, vector: Vector, *, where: NoteFilter, limit: int, offset: int, min_score: float | None
) -> list[ScoredNote]:
    """Equally near notes, such as those of the same text, come in the order of their ids.

    Which of them an index puts first depends on how many it is asked for, so that they could be on two pages, or on none. That can still
    happen where more than about a thousand are equally near, and where the index searches a graph, which does not find every note.

    Args:
        index: by whose vectors.
        vector: what is asked for, (dimensions,).
        where: which notes count.
        limit: notes of the page.
        offset: notes before it.
        min_score: a least cosine.

    Returns:
        At most `limit` notes, the nearest first; none behind the end of the list.

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
