"""`Ledger` and `check_integrity`: whether an embedded index still holds what was acknowledged.

Qdrant Edge opens a shard whose files were cut off, without an error and without the notes that stood there.
"""

import os
from pathlib import Path

import numpy as np
import qdrant_edge as edge

from service.durable_files import sync
from service.errors import StartupError
from service.index.base import DELETED
from service.index.points import point_id

SAMPLE = 64
_TOLERANCE = 1e-3
_REMEDY = "Restore it from a backup, or move it away and embed the notes again"


class Ledger:
    """How many notes and tombstones an index holds at least, on disk: noted down behind each write, and before a delete.

    A process that is killed in between leaves a number that is too low, never one that is too high.

    Args:
        path: of its file, which is made if missing.
    """

    def __init__(self, path: Path) -> None:
        made = not path.exists()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if made:
            sync(path.parent)

    def least(self) -> int:
        """The number; 0 in a new ledger.

        Raises:
            ValueError: there is none in it.
        """
        return int(os.pread(self._file, 32, 0) or b"0")

    def write(self, notes: int) -> None:
        """Replaces the number, durably: its digits lie within one sector of the disk."""
        os.pwrite(self._file, b"%020d\n" % notes, 0)
        os.fdatasync(self._file)

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)


def failed(error: BaseException) -> bool:
    """Whether the library raised it: it has no exception type of its own, and its panics are no `Exception`."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def count(shard: edge.EdgeShard) -> int:
    """Points, tombstones of deleted notes included, as the segments know it: an exact count would hold up all else in the process."""
    return shard.count(edge.CountRequest(exact=False))


def check_integrity(shard: edge.EdgeShard, path: Path, ledger: Ledger) -> None:
    """Compares a shard that was opened with its ledger, and looks at a few of its notes.

    Raises:
        StartupError: notes are missing, or one is not whole.
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
            raise StartupError(f"the index {path} is damaged: the note of the point {record.id} is not whole. {_REMEDY}")


def _whole(record: edge.Record) -> bool:
    """Whether a point has its note's id and a unit vector of at least one model; what is left of a deleted note has only the id."""
    payload = record.payload or {}
    note_id = payload.get("id")
    if not isinstance(note_id, str) or point_id(note_id) != str(record.id):
        return False
    vectors = record.vector if isinstance(record.vector, dict) else {}
    lengths = [float(np.linalg.norm(np.asarray(vector, dtype=np.float32))) for vector in vectors.values()]
    return all(abs(length - 1) <= _TOLERANCE for length in lengths) and bool(lengths or DELETED in payload)
