"""What the service does with a note: store, find, suggest, archive."""

from typing import TYPE_CHECKING

from notellm.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from service.index import (
        IndexedNote as IndexedNote,
        NoteFilter as NoteFilter,
        Restored as Restored,
        ScoredNote as ScoredNote,
        Vector as Vector,
    )
    from service.notes.archive import (
        ArchivedNote as ArchivedNote,
        Deletion as Deletion,
        NoteArchive as NoteArchive,
        archived as archived,
        sent_fields as sent_fields,
    )
    from service.notes.diversity import Page as Page
    from service.notes.live_hashtags import LiveHashtags as LiveHashtags
    from service.notes.service import NoteService as NoteService
    from service.notes.storing import StoredResult as StoredResult
    from service.notes.suggestions import (
        SuggestionOptions as SuggestionOptions,
        SuggestionPrompts as SuggestionPrompts,
        Suggestions as Suggestions,
    )
    from service.notes.vectors import vector_from_base64 as vector_from_base64, vector_to_base64 as vector_to_base64
else:
    __getattr__, __all__ = lazy_exports(
        __name__,
        {
            ".archive": ("ArchivedNote", "Deletion", "NoteArchive", "archived", "sent_fields"),
            ".diversity": ("Page",),
            ".live_hashtags": ("LiveHashtags",),
            ".service": ("NoteService",),
            "service.index": ("IndexedNote", "NoteFilter", "Restored", "ScoredNote", "Vector"),
            ".storing": ("StoredResult",),
            ".suggestions": ("SuggestionOptions", "SuggestionPrompts", "Suggestions"),
            ".vectors": ("vector_from_base64", "vector_to_base64"),
        },
    )
