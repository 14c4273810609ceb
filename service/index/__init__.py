"""The stores of notes and their vectors."""

from typing import TYPE_CHECKING

from notellm.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from service.index.base import (
        LENGTH_TOLERANCE as LENGTH_TOLERANCE,
        Deleted as Deleted,
        Entry as Entry,
        HashtagCounts as HashtagCounts,
        IndexedNote as IndexedNote,
        IndexState as IndexState,
        NoteFilter as NoteFilter,
        NoteIndex as NoteIndex,
        NotePage as NotePage,
        Restored as Restored,
        ScoredNote as ScoredNote,
        Tombstone as Tombstone,
        Upserted as Upserted,
        Vector as Vector,
    )
    from service.index.description import Description as Description, ModelVectors as ModelVectors, Move as Move
    from service.index.edge.index import EdgeIndex as EdgeIndex
    from service.index.edge.optimize import Graph as Graph, optimize_index as optimize_index
    from service.index.opening import (
        embedded_directory as embedded_directory,
        holds_index as holds_index,
        open_index as open_index,
    )
    from service.index.server.index import ServerIndex as ServerIndex
else:
    __getattr__, __all__ = lazy_exports(
        __name__,
        {
            ".base": (
                "LENGTH_TOLERANCE",
                "Deleted",
                "Entry",
                "IndexState",
                "IndexedNote",
                "NoteFilter",
                "HashtagCounts",
                "NoteIndex",
                "NotePage",
                "Restored",
                "ScoredNote",
                "Tombstone",
                "Upserted",
                "Vector",
            ),
            ".description": ("Description", "ModelVectors", "Move"),
            ".edge.index": ("EdgeIndex",),
            ".edge.optimize": ("Graph", "optimize_index"),
            ".opening": ("embedded_directory", "holds_index", "open_index"),
            ".server.index": ("ServerIndex",),
        },
    )
