"""`BulkRun`: sends a file's rows to the service in order and records the progress, without stopping at a bad row."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Generic, Protocol

import typer

from notellm.client import ServiceProblem
from notellm.errors import NoteFileError
from notellm.note_files import Row, RowFile, open_rows
from service.bulk.batches import Batch, ItemT, Reject, batches
from service.bulk.progress import Progress, State
from service.bulk.report import Report
from service.errors import CommandError

# The service computes one batch while the answer to the other travels.
IN_FLIGHT = 2
# If the service fails on this many notes in a row, each sent on its own, the notes are not the cause.
MAX_FAILURES_IN_A_ROW = 10
# A single note may cause these errors, so the rest of a batch may succeed without it.
_MAYBE_CAUSED_BY_A_NOTE = {HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.GATEWAY_TIMEOUT}


class Job(Protocol[ItemT]):
    """Parses and sends the rows of a file."""

    name: str

    def parse(self, row: Row) -> ItemT | None:
        """Parses a row; returns None for a row to skip. Raises `ValueError` for a bad row."""
        ...

    async def send(self, items: Sequence[ItemT]) -> list[str]:
        """Sends items; returns the status of each. Raises `ServiceProblem`."""
        ...


@dataclass
class Outcome:
    """Results of some rows: how many got which status, and the rejected ones."""

    counts: Counter[str] = field(default_factory=Counter)
    rejects: list[Reject] = field(default_factory=list)

    def __add__(self, other: "Outcome") -> "Outcome":
        return Outcome(self.counts + other.counts, self.rejects + other.rejects)


Sending = tuple[Batch[ItemT], "asyncio.Task[Outcome]"]


class BulkRun(Generic[ItemT]):
    """One run over a file. The process may be killed at any moment: the next run continues from the saved progress.

    Args:
        path: the file.
        job: parses and sends the rows.
        progress: the saved progress of this file and job.
    """

    def __init__(self, path: Path, job: Job[ItemT], progress: Progress) -> None:
        self._path = path
        self._job = job
        self._progress = progress
        self._failures = 0

    async def run(self) -> Counter[str]:
        """Processes every row; returns the counts by status of all runs over the file together.

        Raises:
            CommandError: the file or the service cannot be used any more. The progress is kept.
        """
        if self._progress.state.rows and not await self._can_continue():
            typer.echo(f"{self._path}: the index lacks notes that an earlier run stored: starting from the beginning", err=True)
            self._progress.restart(State())
        await self._all_rows()
        self._progress.finish()
        return Counter(self._progress.state.counts)

    async def _can_continue(self) -> bool:
        """Sends the last acknowledged batch again; returns whether the index still has it. It may have been emptied since."""
        with _opened(self._path) as rows:
            batch = await asyncio.to_thread(next, self._batches(rows), None)
            if batch is None or not batch.items:
                return True
            counts = (await self._outcome(batch)).counts
            return not counts or counts["stored"] + counts["deleted"] < counts.total()

    async def _all_rows(self) -> None:
        progress, sending = self._progress, deque[Sending[ItemT]]()
        progress.restart(progress.state)
        with _opened(self._path) as rows, Report(self._job.name, progress.state.rows) as report:
            reading = self._batches(rows)
            try:
                while batch := await asyncio.to_thread(next, reading, None):
                    same_note = any(batch.ids & earlier.ids for earlier, _ in sending)
                    while len(sending) >= IN_FLIGHT or (same_note and sending):
                        await self._commit(sending, rows, report)
                    sending.append((batch, asyncio.create_task(self._outcome(batch))))
                while sending:
                    await self._commit(sending, rows, report)
            finally:
                for _, task in sending:
                    task.cancel()
                await asyncio.gather(*(task for _, task in sending), return_exceptions=True)

    async def _commit(self, sending: deque[Sending[ItemT]], rows: RowFile, report: Report) -> None:
        batch, task = sending[0]
        outcome = await task
        sending.popleft()
        rejects = sorted(batch.rejects + outcome.rejects, key=lambda reject: reject.row.number)
        before = self._progress.state.rows
        await asyncio.to_thread(self._progress.commit, batch.last_row, outcome.counts, rejects)
        report.advance(batch.last_row - before, rows.fraction())

    def _batches(self, rows: RowFile) -> Iterator[Batch[ItemT]]:
        done = self._progress.state.rows
        parse: Callable[[Row], ItemT | None] = self._job.parse
        return batches((row for row in rows if row.number > done), parse)

    async def _outcome(self, batch: Batch[ItemT]) -> Outcome:
        return await self._send(batch.items) if batch.items else Outcome()

    async def _send(self, items: Sequence[tuple[Row, ItemT]]) -> Outcome:
        """Sends items and rejects those that the service refuses. If its answer does not name them, they are found by halving.

        Raises:
            CommandError: the refusal or failure is not due to the notes.
        """
        try:
            statuses = await self._job.send([item for _, item in items])
        except ServiceProblem as refusal:
            if refusal.reasons:
                return await self._without(items, refusal.reasons)
            if not refusal.too_many and refusal.status not in _MAYBE_CAUSED_BY_A_NOTE:
                raise CommandError(
                    f"{refusal}. The rows before that are stored: run the same command again to continue"
                ) from refusal
            if len(items) > 1:
                middle = len(items) // 2
                return await self._send(items[:middle]) + await self._send(items[middle:])
            return self._rejected(items[0][0], refusal)
        self._failures = 0
        return Outcome(Counter(statuses))

    async def _without(self, items: Sequence[tuple[Row, ItemT]], reasons: dict[int, str]) -> Outcome:
        rejects = [Reject(items[position][0], reason) for position, reason in reasons.items()]
        others = [item for position, item in enumerate(items) if position not in reasons]
        return Outcome(rejects=rejects) + (await self._send(others) if others else Outcome())

    def _rejected(self, row: Row, refusal: ServiceProblem) -> Outcome:
        if refusal.status in {HTTPStatus.GATEWAY_TIMEOUT, HTTPStatus.UNPROCESSABLE_ENTITY}:
            raise refusal
        if refusal.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            self._failures += 1
            if self._failures >= MAX_FAILURES_IN_A_ROW:
                raise CommandError(
                    f"the service failed on {self._failures} notes in a row, last with: {refusal}. See its log, then run the same "
                    "command again to continue"
                ) from refusal
        return Outcome(rejects=[Reject(row, str(refusal))])


@contextmanager
def _opened(path: Path) -> Iterator[RowFile]:
    """Opens a file of notes; raises `CommandError` if it cannot be read, here or later."""
    try:
        file = open_rows(path)
    except NoteFileError as error:
        raise CommandError(str(error)) from error
    with closing(file):
        try:
            yield file
        except NoteFileError as error:
            raise CommandError(f"{error}. The rows before that are stored") from error
