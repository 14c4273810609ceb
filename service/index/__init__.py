"""Where notes and their vectors are stored."""

from service.index.base import IndexedNote, NoteFilter, NoteIndex, ScoredNote, Vector
from service.index.edge import EdgeIndex
from service.index.server import ServerIndex

__all__ = ["EdgeIndex", "IndexedNote", "NoteFilter", "NoteIndex", "ScoredNote", "ServerIndex", "Vector"]
