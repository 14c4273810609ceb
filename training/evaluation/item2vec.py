"""`item2vec`: how well behaviour itself tells which notes are related. It needs behaviour with the note, so it cannot serve a new one.

Half of the users teach the vectors, and the related pairs of the other half are to be found. The pool is its own: the test notes that the
first half has visited. Its recall therefore cannot be compared in pairs with that of methods on the whole pool.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import duckdb
import numpy as np

from training.data import Cooccurrences, Dataset, DataSettings, ItemVectors, Pair, open_events, select_pairs
from training.data.pairs import related_pairs
from training.evaluation.measurement import Measurement, OwnPool
from training.evaluation.pool import TestPool
from training.ranking import Scores, Vectors, target_ranks

logger = logging.getLogger(__name__)
NAME = "item2vec"
# The last hexadecimal digit of a user's MD5 as a character: half of the sixteen have an even code.
_HALF = "create or replace temp table events as select * from everyone where ascii(right(md5(user_id), 1)) % 2 = {half}"


def measure_item2vec(settings: DataSettings, dataset: Dataset, pool: TestPool, dimensions: int) -> Measurement:
    """Learns from one half of the users and measures on the other.

    Args:
        settings: where the log is, and what a related pair is.
        dataset: the notes and their split.
        pool: the whole pool, whose fingerprint guards the measurement.
        dimensions: length of the vectors.
    """
    with _log(settings, dataset) as connection:
        select_pairs(connection, dataset.notes, settings.pairs)
        learnt = Cooccurrences.read(connection, dataset.notes, settings.cooccurrences)
        connection.execute(_HALF.format(half=1))
        pairs = related_pairs(connection, dataset.split.test, settings.pairs, dataset.split.period("test"))
    items = ItemVectors.of(learnt, dimensions)
    own = _own_pool(pairs, {note: row for note, row in items.row.items() if note in dataset.split.test}, items.vectors)
    counted = "which has no related pair" if own is None else f"{own.notes:,} notes, {len(own.ranks):,} pairs"
    about = (
        f"PMI and SVD to {items.vectors.shape[1]} dimensions of the co-occurrences of half of the users, asked for the related pairs of "
        f"the other half among the test notes that the first half visited ({counted}): not available to a new note, and another pool"
    )
    return Measurement(method=NAME, about=about, pool=pool.fingerprint, own_pool=own)


@contextmanager
def _log(settings: DataSettings, dataset: Dataset) -> Iterator[duckdb.DuckDBPyConnection]:
    """The log with only the events of the first half of the users; those of all users are in the table `everyone`."""
    connection = open_events(settings.events, dataset.notes, drop_invalid=settings.drop_invalid).connection
    try:
        connection.execute("create temp table everyone as select * from events")
        connection.execute(_HALF.format(half=0))
        yield connection
    finally:
        connection.close()


def _own_pool(pairs: Iterable[Pair], rows: dict[str, int], vectors: Scores) -> OwnPool | None:
    """The ranks of the pairs among the notes of `rows`; None if there is no pair."""
    place = {note: index for index, note in enumerate(sorted(rows))}
    kept = [(place[pair.source], place[pair.target]) for pair in pairs if {pair.source, pair.target} <= place.keys()]
    if not kept:
        return None
    sources, targets = np.array(kept).T
    logger.info("%s: ranking %d pairs in a pool of %d notes", NAME, len(sources), len(place))
    ranks = target_ranks(Vectors(NAME, vectors[[rows[note] for note in place]]), sources, targets)
    return OwnPool(notes=len(place), sources=sources.tolist(), ranks=ranks.tolist())
