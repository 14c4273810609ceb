"""`Report`: shows progress, rate and time left on standard error: as a bar in a terminal, elsewhere as a line every ten seconds."""

import sys
import time
from typing import Self

import typer
from tqdm import tqdm

LINE_SECONDS = 10.0


class Report:
    """Shows the progress of a command.

    Args:
        what: name of the command, at the start of every line.
        done: rows that earlier runs have already processed.
    """

    def __init__(self, what: str, done: int = 0) -> None:
        self._what = what
        self._first = self._done = done
        self._start = self._shown = time.monotonic()
        self._bar = tqdm(desc=what, initial=done, unit=" notes", dynamic_ncols=True) if sys.stderr.isatty() else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, rows: int, fraction: float) -> None:
        """Adds processed rows. `fraction` is the part of the file that has been read, from which the total is estimated."""
        self._done += rows
        total = max(self._done, round(self._done / fraction)) if fraction else None
        if self._bar is not None:
            self._bar.total = total
            self._bar.update(rows)
        elif time.monotonic() - self._shown >= LINE_SECONDS:
            self._shown = time.monotonic()
            typer.echo(self.line(total), err=True)

    def line(self, total: int | None) -> str:
        """Returns the progress as text."""
        rate = (self._done - self._first) / max(time.monotonic() - self._start, 1e-9)
        known = total is not None and rate > 0
        left = f", {_duration((total - self._done) / rate)} left" if known and total is not None else ""
        share = f" ({self._done / total:.0%})" if total else ""
        return f"{self._what}: {self._done:,} notes{share}, {rate:,.0f} a second{left}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
