"""Where notes and their vectors are stored."""

from service.index.base import IndexedNote, IndexState, NoteFilter, NoteIndex, NotePage, ScoredNote, Tombstone, Vector
from service.index.edge.index import EdgeIndex
from service.index.server.index import ServerIndex
from service.index.size import size_warning

__all__ = [
    "EdgeIndex",
    "IndexState",
    "IndexedNote",
    "NoteFilter",
    "NoteIndex",
    "NotePage",
    "ScoredNote",
    "ServerIndex",
    "Tombstone",
    "Vector",
    "size_warning",
]
