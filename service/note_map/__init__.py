"""The map of all stored notes: their vectors in two dimensions, for people who want to see what lies near what."""

from typing import TYPE_CHECKING

from notellm.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from service.note_map.layout import place as place
    from service.note_map.note_map import MapStatus as MapStatus, NoteMap as NoteMap
    from service.note_map.sheet import Sheet as Sheet
else:
    # Lazy: the process that places the vectors imports this package and needs little of it.
    __getattr__, __all__ = lazy_exports(
        __name__, {".layout": ("place",), ".note_map": ("MapStatus", "NoteMap"), ".sheet": ("Sheet",)}
    )
