"""`NoteMap`: keeps the map of the stored notes, and draws it again when they have changed enough."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from service.errors import ServiceError
from service.note_map.drawing import MapFailed, MapProcess
from service.note_map.reading import MOST_NOTES, MapNotes, read_notes
from service.note_map.sheet import Sheet
from service.notes import NoteArchive

logger = logging.getLogger(__name__)
CHANGED_SHARE = 0.1
"""A map is drawn again when the number of notes has changed by this share."""
_READ_SHARE = 0.1  # of the work, roughly
_PART = 1_000

State = Literal["none", "drawing", "ready", "failed"]


@dataclass(frozen=True)
class MapStatus:
    """What a page shows about the map.

    Attributes:
        state: `none`: nobody has asked for it yet; `drawing`; `ready`; `failed`, with the reason in `error`.
        progress: share of the drawing that is done, 0 to 1.
        total: how many notes the index held when the map was drawn; None without a map. While a map is drawn again, the previous one
            stays.
        shown: how many of them it shows.
        drawn_at: when, in ISO 8601.
        error: why the last drawing failed; None if it did not.
    """

    state: State
    progress: float
    total: int | None
    shown: int | None
    drawn_at: str | None
    error: str | None


class NoteMap:
    """The map of one index. It costs nothing until somebody asks for it.

    Make an instance with `NoteMap.open`, which ends a drawing when the service ends.

    Args:
        archive: returns the index with the vectors of the model that answers; read each time, because a migration replaces it.
        process: places the vectors.
        most: how many notes a map shows.
    """

    def __init__(self, archive: Callable[[], NoteArchive], process: MapProcess | None = None, most: int = MOST_NOTES) -> None:
        self._archive = archive
        self._process = process or MapProcess()
        self._most = most
        self._sheet: Sheet | None = None
        self._drawing: asyncio.Task[None] | None = None
        self._progress = 0.0
        self._error: str | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, archive: Callable[[], NoteArchive]) -> "AsyncIterator[NoteMap]":
        """Makes a map that is not drawn yet, and stops drawing when the block ends."""
        note_map = cls(archive)
        try:
            yield note_map
        finally:
            if note_map._drawing is not None:
                note_map._drawing.cancel()
                await asyncio.gather(note_map._drawing, return_exceptions=True)

    async def ask(self, *, again: bool = False) -> MapStatus:
        """Returns the status, and begins to draw if there is no map or an outdated one.

        Args:
            again: true draws a new map in any case, also after a failure.
        """
        if self._drawing is None and (again or (self._error is None and await self._outdated())) and self._drawing is None:
            self._error, self._progress = None, 0.0
            # Without the deadline of the request that happens to ask first.
            self._drawing = asyncio.create_task(self._draw(), name="note-map", context=Context())
        return self.status

    @property
    def status(self) -> MapStatus:
        """The status now."""
        sheet = self._sheet
        return MapStatus(
            "drawing" if self._drawing else "failed" if self._error else "ready" if sheet else "none",
            self._progress, sheet.total if sheet else None, sheet.shown if sheet else None, sheet.drawn_at if sheet else None,
            self._error,
        )  # fmt: skip

    @property
    def sheet(self) -> Sheet | None:
        """The latest map."""
        return self._sheet

    async def _outdated(self) -> bool:
        if self._sheet is None:
            return True
        archive = self._archive()
        if archive.vector_name != self._sheet.vector_name:
            return True
        return abs(await archive.count() - self._sheet.counted) > CHANGED_SHARE * self._sheet.counted

    async def _draw(self) -> None:
        try:
            read = await read_notes(self._archive(), self._most, lambda share: self._report(_READ_SHARE * share))
            positions, regions = await self._process.place(
                await asyncio.to_thread(_stacked, read), lambda share: self._report(_READ_SHARE + (1 - _READ_SHARE) * share)
            )
            self._sheet = await asyncio.to_thread(Sheet.draw, read, positions, regions)
            logger.info("the map is drawn", extra={"notes": len(read.notes)})
        except (MapFailed, ServiceError) as error:
            self._error = str(error)
            logger.warning("the map cannot be drawn", extra={"reason": str(error)})
        except Exception as error:
            self._error = f"{type(error).__name__}: the log has the details"
            logger.exception("the map cannot be drawn")
        finally:
            self._drawing = None

    def _report(self, share: float) -> None:
        self._progress = max(self._progress, share)


def _stacked(read: MapNotes) -> npt.NDArray[np.float32]:
    """The vectors in one array, a part at a time: numpy keeps every other thread waiting while it reads many small arrays."""
    if not read.notes:
        return np.zeros((0, 1), dtype=np.float32)
    stacked = np.empty((len(read.notes), len(read.notes[0].vector)), dtype=np.float32)
    for start in range(0, len(stacked), _PART):
        stacked[start : start + _PART] = [note.vector for note in read.notes[start : start + _PART]]
    return stacked
