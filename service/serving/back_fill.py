"""`BackFill`: adds the vectors of another model to stored notes, in the background, while the service answers requests."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextvars import Context
from uuid import uuid4

from notellm.errors import NoteLLMError
from notellm.note import Note
from service.caller import Caller, Priority, caller
from service.errors import ModelFailed, ServiceError
from service.index import IndexedNote, NoteIndex
from service.notes import NoteService, sent_fields
from service.serving.migration_status import DEFAULT_SHARE
from service.serving.serial_changes import cancel

logger = logging.getLogger(__name__)
PAGE = 64
EXAMPLES = 5
SHORTEST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
LONGEST_REST_SECONDS = 60.0


class BackFill:
    """Looks repeatedly for notes that lack the vector, and embeds them.

    Its progress is only in the index, so it can resume after a kill at any point. It never writes a whole note: it only adds a vector,
    and only if the note still has the text that was embedded.

    Args:
        notes: embeds with the model whose vectors are added.
        index: holds those vectors.
        clock: returns monotonic seconds.

    Attributes:
        share: share of the time in which it works, above 0 and at most 1; the rest is left to requests.
        filled: number of vectors that it has written.
        failed: number of notes that the model could not embed in the last pass.
        examples: ids of some of the failed notes.
        complete: whether every note had a vector in the last pass.
        error: what stopped the last pass; None if the pass was finished.
    """

    def __init__(self, notes: NoteService, index: NoteIndex, clock: Callable[[], float] = time.monotonic) -> None:
        self._notes = notes
        self._index = index
        self._clock = clock
        self.share = DEFAULT_SHARE
        self.filled = 0
        self.failed = 0
        self.examples: Sequence[str] = ()
        self.complete = False
        self.error: str | None = None
        self._passes = asyncio.Lock()
        self._running: asyncio.Task[None] | None = None

    @property
    def unfinished(self) -> str | None:
        """The reason why notes lack a vector after the last pass; None if every note has one."""
        if self.error is None and self.failed:
            return f"{self.failed} notes cannot be embedded, such as {', '.join(self.examples)}: change them or delete them"
        return self.error

    def start(self) -> None:
        """Fills in the background until `stop`, because notes may be stored without the vector at any time."""
        # A new context: the task does not belong to the request that began the migration.
        self._running = self._running or asyncio.create_task(self._run(), context=Context())

    async def stop(self) -> None:
        """Stops filling in the background, if it was started."""
        running, self._running = self._running, None
        await cancel(running)

    async def fill_all(self) -> None:
        """Fills until a pass finds nothing that it can fill."""
        while await self.step():
            pass

    async def still_complete(self) -> bool:
        """Says whether every note has a vector now. If the last pass was complete, it first fills in notes stored since then."""
        if self.complete and await self.step():
            await self.step()
        return self.complete

    async def step(self) -> int:
        """Makes one pass over all notes that lack the vector, and returns how many it filled in. A failure is put into `error`."""
        async with self._passes:
            return await self._step()

    async def _run(self) -> None:
        pause = 0.0
        while True:
            filled = await self.step()
            # A pass that finds nothing is still expensive: it reads every note.
            longest = LONGEST_REST_SECONDS if self.complete else LONGEST_PAUSE_SECONDS
            pause = SHORTEST_PAUSE_SECONDS if filled else min(max(2 * pause, SHORTEST_PAUSE_SECONDS), longest)
            await asyncio.sleep(pause)

    async def _step(self) -> int:
        caller.set(Caller(client="migration", priority=Priority.BULK, background=True))
        before, self.error = self.filled, None
        failed: list[str] = []
        try:
            if self._index.shared:
                await self._fill_here_and_there()
            failed = await self._fill_from(None)
        except ServiceError as error:
            self.error = error.detail
            logger.warning("back-filling has stopped and will be tried again", extra={"reason": error.detail})
        except Exception as error:  # nobody awaits this pass, so the error must be logged here
            self.error = str(error) or type(error).__name__
            logger.exception("back-filling has stopped and will be tried again")
        if self.error is not None:
            self.complete = False
            return 0
        self.failed, self.examples = len(failed), failed[:EXAMPLES]
        self.complete = self.filled == before and not failed
        return self.filled - before

    async def _fill_here_and_there(self) -> None:
        """Fills in one page after another, each from a random point of the index, until none has a note that can be filled in.

        Other replicas fill as well. In order, all of them would soon work on the same pages, and do a third of the work twice.
        """
        filled = -1
        while filled != self.filled:
            filled = self.filled
            page = await self._index.scroll(start=str(uuid4()), limit=PAGE, lacking=True)
            if not page.notes:  # only notes before that point are left
                page = await self._index.scroll(limit=PAGE, lacking=True)
            await self._paced(page.notes)

    async def _fill_from(self, start: str | None) -> list[str]:
        """Fills in the notes from `start` to the end of the index; returns the ids of those that the model could not embed."""
        failed: list[str] = []
        while True:
            page = await self._index.scroll(start=start, limit=PAGE, lacking=True)
            failed += await self._paced(page.notes)
            start = page.next
            if start is None:
                return failed

    async def _paced(self, notes: Sequence[IndexedNote]) -> list[str]:
        if not notes:
            return []
        self.complete = False
        start = self._clock()
        failed = await self._fill(notes)
        await asyncio.sleep((self._clock() - start) * (1 / self.share - 1))
        return failed

    async def _fill(self, notes: Sequence[IndexedNote]) -> list[str]:
        """Embeds notes and writes their vectors; returns the ids of those that the model could not embed."""
        readable = {note.id: read for note in notes if (read := _read(note)) is not None}
        try:
            vectors = await self._notes.vectors(list(readable.values()))
        except ModelFailed:
            if len(notes) == 1:
                return [notes[0].id]
            # One bad note must not block the other notes.
            return [failed for note in notes for failed in await self._fill([note])]
        by_id = dict(zip(readable, vectors, strict=True))
        await self._index.fill([IndexedNote(note.payload, by_id[note.id]) for note in notes if note.id in by_id])
        self.filled += len(by_id)
        return [note.id for note in notes if note.id not in by_id]


def _read(note: IndexedNote) -> Note | None:
    """Returns the note as it was sent; None if it would be refused today."""
    try:
        return Note.model_validate(sent_fields(note))
    except (ValueError, NoteLLMError):
        return None
