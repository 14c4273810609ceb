"""`Progress`: stores next to a file how much of it was imported, so that a killed run can resume and reports each reject once."""

import fcntl
import hashlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ValidationError

from service.bulk.batches import Reject
from service.durable_files import replace_durably
from service.errors import CommandError
from service.settings import MIB

_ENDS_BYTES = MIB


class State(BaseModel):
    """The state after some rows of a file.

    Attributes:
        rows: number of rows that are done.
        reject_bytes: length of the reject file at that point.
        counts: number of rows by status.
    """

    rows: int = 0
    reject_bytes: int = 0
    counts: dict[str, int] = {}


class _Kept(BaseModel):
    job: str
    state: State


class Progress:
    """The progress and rejects of one job over one file.

    It stores the state *before* the last acknowledged batch. A resumed run sends that batch again, and the answer shows whether the index
    still has it.

    Args:
        source: the file of notes.
        job: what is done with the file, and for which model. The progress of another job is ignored.
        directory: the directory of the progress file and the reject file.
    """

    def __init__(self, source: Path, job: str, directory: Path) -> None:
        self._job = f"{job} {_fingerprint(source)}"
        self.rejects = rejects_path(source, directory)
        self._path = directory / f"{source.name}.progress.json"
        try:
            self._stream = self.rejects.open("ab")
        except OSError as error:
            raise CommandError(
                f"{self.rejects} cannot be written: {error}. Choose another directory with --state-dir"
            ) from error
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._stream.close()
            raise CommandError(f"another command is importing {source}") from error
        self.state = self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def restart(self, state: State) -> None:
        """Returns to a state, and removes the rejects that were written after it."""
        self.state = state.model_copy(deep=True)
        self._stream.truncate(state.reject_bytes)
        self._stream.seek(state.reject_bytes)

    def commit(self, rows: int, counts: Counter[str], rejects: list[Reject]) -> None:
        """Records that the rows up to `rows` are done."""
        try:
            replace_durably(self._path, _Kept(job=self._job, state=self.state).model_dump_json())
            for reject in rejects:
                self._stream.write(f"{reject.as_json()}\n".encode())
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise CommandError(
                f"progress cannot be kept in {self._path.parent}: {error}. Choose another directory with --state-dir"
            ) from error
        total = Counter(self.state.counts) + counts + Counter(rejected=len(rejects))
        self.state = State(rows=rows, reject_bytes=self._stream.tell(), counts=dict(total))

    def finish(self) -> None:
        """Removes the files of a finished run, except a reject file that is not empty."""
        self._path.unlink(missing_ok=True)
        if not self.state.reject_bytes:
            self.rejects.unlink(missing_ok=True)

    def _read(self) -> State:
        try:
            kept = _Kept.model_validate_json(self._path.read_bytes())
        except (FileNotFoundError, ValidationError):
            return State()
        whole = self._stream.tell() >= kept.state.reject_bytes
        return kept.state if kept.job == self._job and whole else State()


def rejects_path(source: Path, directory: Path) -> Path:
    """Returns the file of the rejected rows of a file of notes."""
    return directory / f"{source.name}.rejects.jsonl"


def _fingerprint(path: Path) -> str:
    """Returns a text that identifies a file without reading all of it: size, time of last change, and a hash of both ends."""
    try:
        found = path.stat()
        with path.open("rb") as stream:
            ends = hashlib.sha256(stream.read(_ENDS_BYTES))
            stream.seek(max(found.st_size - _ENDS_BYTES, 0))
            ends.update(stream.read(_ENDS_BYTES))
    except FileNotFoundError as error:
        raise CommandError(f"{path} is missing") from error
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror or error}") from error
    return json.dumps([found.st_size, found.st_mtime_ns, ends.hexdigest()])
