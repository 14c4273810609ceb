"""`Ledger` and `check_integrity`: check that an embedded index still holds the acknowledged notes.

If the files of a shard were truncated, Qdrant Edge opens it without an error, and the notes in the missing part are gone.
"""

import os
from pathlib import Path

import numpy as np
import qdrant_edge as edge

from service.durable_files import sync
from service.errors import StartupError
from service.index.base import DELETED, LENGTH_TOLERANCE
from service.index.points import point_id

SAMPLE = 64
_REMEDY = "Restore it from a backup, or move it away and embed the notes again"


class Ledger:
    """A file with the lowest number of notes and tombstones that an index must hold. It is written after each write and before a delete.

    A process that is killed in between leaves a number that is too low, never one that is too high.

    Args:
        path: the path of the file; it is made if missing.
    """

    def __init__(self, path: Path) -> None:
        made = not path.exists()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if made:
            sync(path.parent)

    def least(self) -> int:
        """Returns the number; 0 for a new ledger.

        Raises:
            ValueError: the file does not hold a number.
        """
        return int(os.pread(self._file, 32, 0) or b"0")

    def write(self, notes: int) -> None:
        """Replaces the number, durably. The write is atomic, because the digits lie within one disk sector."""
        os.pwrite(self._file, b"%020d\n" % notes, 0)
        os.fdatasync(self._file)

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)


def failed(error: BaseException) -> bool:
    """Says whether an error may come from the library. It has no exception type of its own, and its panics are not `Exception`s."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def count(shard: edge.EdgeShard) -> int:
    """Returns the segments' own count of points, including tombstones. An exact count would block everything else in the process."""
    return shard.count(edge.CountRequest(exact=False))


def check_integrity(shard: edge.EdgeShard, path: Path, ledger: Ledger) -> None:
    """Compares an open shard with its ledger, and checks a few of its notes.

    Raises:
        StartupError: notes are missing, or a note is damaged.
    """
    try:
        least = ledger.least()
    except ValueError as error:
        raise StartupError(f"the ledger of the index {path} is not readable: {error}. {_REMEDY}") from error
    if (stored := count(shard)) < least:
        raise StartupError(f"the index {path} has lost notes: it holds {stored} and at least {least} were stored. {_REMEDY}")
    records, _ = shard.scroll(edge.ScrollRequest(limit=SAMPLE, with_payload=True, with_vector=True))
    for record in records:
        if not _whole(record):
            raise StartupError(f"the index {path} is damaged: the note of the point {record.id} is incomplete. {_REMEDY}")


def _whole(record: edge.Record) -> bool:
    """Says whether a point has its note's id and at least one unit vector; a tombstone needs only the id."""
    payload = record.payload or {}
    note_id = payload.get("id")
    if not isinstance(note_id, str) or point_id(note_id) != str(record.id):
        return False
    vectors = record.vector if isinstance(record.vector, dict) else {}
    lengths = [float(np.linalg.norm(np.asarray(vector, dtype=np.float32))) for vector in vectors.values()]
    return all(abs(length - 1) <= LENGTH_TOLERANCE for length in lengths) and bool(lengths or DELETED in payload)
