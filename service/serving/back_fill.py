"""`BackFill`: gives stored notes the vectors of another model, at leisure, beside the traffic."""

import asyncio
import logging
from collections.abc import Sequence
from contextvars import Context
from uuid import uuid4

from notellm.errors import NoteLLMError
from notellm.note import Note
from service.caller import Caller, Priority, caller
from service.errors import ModelFailed, ServiceError
from service.index import IndexedNote, NoteIndex
from service.notes import NoteService
from service.serving.migration_status import DEFAULT_SHARE
from service.serving.serial_changes import cancel

logger = logging.getLogger(__name__)
PAGE = 64
EXAMPLES = 5
LONGEST_PAUSE_SECONDS = 5.0
LONGEST_REST_SECONDS = 60.0


class BackFill:
    """Looks for notes that lack the vector, again and again, and embeds them.

    What it has done stands in the index only, so that it goes on after a kill at any point. It never writes a note, only a vector to one
    that is still there with the text that was embedded.

    Args:
        notes: of the model whose vectors are filled in.
        index: by those vectors.

    Attributes:
        share: of the time that it works, above 0 and at most 1; for the rest it leaves the machine to the traffic.
        filled: vectors that it has written.
        failed: notes that the model could not embed, in the last pass.
        examples: ids of some of them.
        complete: whether the last pass has found every note with a vector.
        error: what has stopped the last pass.
    """

    def __init__(self, notes: NoteService, index: NoteIndex) -> None:
        self._notes = notes
        self._index = index
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
        """Why notes lack a vector after the last pass; None if none does."""
        if self.error is None and self.failed:
            return f"{self.failed} notes cannot be embedded, such as {', '.join(self.examples)}: change them or delete them"
        return self.error

    async def fill_all(self) -> None:
        """Fills until a pass has found nothing that it could fill."""
        while await self.step():
            pass

    def start(self) -> None:
        """Begins to fill in the background, and goes on until `stop`, looking again for notes that have come without a vector."""
        # In a context of its own: it does not belong to the request that has begun the migration.
        self._running = self._running or asyncio.create_task(self._run(), context=Context())

    async def stop(self) -> None:
        """Stops filling in the background, if it does."""
        running, self._running = self._running, None
        await cancel(running)

    async def _run(self) -> None:
        pause = 0.0
        while True:
            done = await self.step()
            # A pass that finds nothing has still looked at every note.
            longest = LONGEST_REST_SECONDS if self.complete else LONGEST_PAUSE_SECONDS
            pause = 0.1 if done else min(max(2 * pause, 0.1), longest)
            await asyncio.sleep(pause)

    async def still_complete(self) -> bool:
        """Whether each note has a vector now. Where the last pass says so, notes may have been stored without one since: they get it."""
        if self.complete and await self.step():
            await self.step()
        return self.complete

    async def step(self) -> int:
        """One pass over all notes that lack the vector; how many it has filled in. What goes wrong is in `error`."""
        async with self._passes:
            return await self._step()

    async def _step(self) -> int:
        caller.set(Caller(client="migration", priority=Priority.BULK, unasked=True))
        before, self.error = self.filled, None
        failed: list[str] = []
        try:
            if self._index.shared:
                await self._fill_from(str(uuid4()))  # other processes do the same: not all begin with the same notes
            failed = await self._fill_from(None)
        except ServiceError as error:
            self.error = error.detail
            logger.warning("back-filling has stopped for now", extra={"reason": error.detail})
        except Exception as error:  # nobody waits for it: it must not end without a word
            self.error = str(error) or type(error).__name__
            logger.exception("back-filling has stopped for now")
        if self.error is not None:
            self.complete = False
            return 0
        self.failed, self.examples = len(failed), failed[:EXAMPLES]
        self.complete = self.filled == before and not failed
        return self.filled - before

    async def _fill_from(self, start: str | None) -> list[str]:
        """Fills in the notes from a place in the index on; the ids of those that the model could not embed."""
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
        clock = asyncio.get_running_loop().time
        start = clock()
        failed = await self._fill(notes)
        await asyncio.sleep((clock() - start) * (1 / self.share - 1))
        return failed

    async def _fill(self, notes: Sequence[IndexedNote]) -> list[str]:
        """Embeds and writes; the ids of notes that the model could not embed."""
        readable = {note.id: read for note in notes if (read := _read(note)) is not None}
        try:
            vectors = await self._notes.vectors(list(readable.values()))
        except ModelFailed:
            if len(notes) == 1:
                return [notes[0].id]
            # One bad note must not keep its neighbours back.
            return [failed for note in notes for failed in await self._fill([note])]
        by_id = dict(zip(readable, vectors, strict=True))
        await self._index.fill([IndexedNote(note.payload, by_id[note.id]) for note in notes if note.id in by_id])
        self.filled += len(by_id)
        return [note.id for note in notes if note.id not in by_id]


def _read(note: IndexedNote) -> Note | None:
    """As it was sent; None where it would be refused today."""
    fields = {name: value for name in Note.model_fields if (value := note.payload.get(name)) is not None}
    try:
        return Note.model_validate(fields)
    except (ValueError, NoteLLMError):
        return None
