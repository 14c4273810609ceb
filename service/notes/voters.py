"""`Voters`: the stored notes whose hashtags count for a new note."""

import logging
from collections.abc import Sequence

from notellm.evidence import NEIGHBOURS
from service.errors import IndexUnavailable, InvalidRequest, QueueFull
from service.index import NoteFilter, NoteIndex, ScoredNote, Vector
from service.observability import Metrics
from service.queueing import SearchLimit

logger = logging.getLogger(__name__)


class Voters:
    """Finds the stored notes that vote on hashtags.

    Args:
        index: holds the notes.
        metrics: times the searches.
        searches: limits how many searches may run and wait.
    """

    def __init__(self, index: NoteIndex, metrics: Metrics, searches: SearchLimit) -> None:
        self._index = index
        self._metrics = metrics
        self._searches = searches

    async def near(self, vectors: Sequence[Vector], ids: Sequence[str] = ()) -> list[list[ScoredNote]]:
        """Returns more of the notes nearest to each vector than vote, because some have no hashtags.

        If there is no room for a search, or the index fails, it returns nothing: suggestions work without these notes.

        Args:
            vectors: finite vectors.
            ids: the id of each note, which is left out of its own neighbours; empty for notes without ids.
        """
        own: list[tuple[str, ...]] = [(note_id,) for note_id in ids] or [()] * len(vectors)
        try:
            with self._searches.place():
                return [
                    await self._nearest(vector, NoteFilter(exclude=mine)) for vector, mine in zip(vectors, own, strict=True)
                ]
        except (IndexUnavailable, QueueFull, InvalidRequest) as error:  # the last one: a migration has ended meanwhile
            logger.warning("hashtags are suggested without those of stored notes", extra={"reason": error.detail})
            return []

    async def _nearest(self, vector: Vector, where: NoteFilter) -> list[ScoredNote]:
        with self._metrics.index_operation("search"):
            return await self._index.search(vector, where=where, limit=2 * NEIGHBOURS)
