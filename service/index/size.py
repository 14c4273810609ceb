"""`size_warning`: without a graph the embedded index scans every vector and holds the interpreter up, which is for so many notes only."""

from service.index.base import NoteIndex
from service.index.edge.index import EdgeIndex


def size_warning(index: NoteIndex, count: int, limit: int) -> str | None:
    """What an operator should know about an index of `count` notes, or None."""
    if not isinstance(index, EdgeIndex):
        return None
    scanned = count - index.indexed
    if scanned <= limit:
        return None
    where = " outside its graph" if index.indexed else ""
    return (
        f"the embedded index holds {scanned:,} notes{where}, more than NOTELLM_EMBEDDED_INDEX_NOTES={limit:,}: each search scans all of "
        "them and holds other requests up meanwhile. Stop the service and run notellm-serve optimize, or run a Qdrant server, set "
        "NOTELLM_QDRANT_URL, and move the notes there by notellm-serve export and import"
    )
