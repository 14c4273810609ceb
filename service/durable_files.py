"""Durable files: writes of files and directory entries that survive a power cut, not only the end of the process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


def sync(path: Path) -> None:
    """Flushes a file, or the entries of a directory, to the disk.

    Raises:
        OSError: the file or directory cannot be written to the disk.
    """
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def sync_tree(directory: Path) -> None:
    """Flushes a directory with everything in it to the disk."""
    for parent, _, names in os.walk(directory):
        for name in names:
            sync(Path(parent) / name)
        sync(Path(parent))


def make_directory(path: Path) -> None:
    """Makes a directory and its missing parents, and flushes their entries to the disk."""
    missing = [place for place in (path, *path.parents) if not place.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync(made.parent)


@contextmanager
def open_durably(path: Path) -> Iterator[BinaryIO]:
    """A stream into a file that gets its name, in the place of an older one, when all of it is on the disk.

    What is written stands in `<name>.partial` until then. If anything goes wrong, that is removed, and an older file stays as it is.

    Raises:
        OSError: the disk does not take it.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
        sync(path.parent)
    finally:
        with suppress(OSError):  # a disk that fails must not hide why
            partial.unlink(missing_ok=True)


def replace_durably(path: Path, text: str) -> None:
    """Replaces the content of a small file. After a crash it has either all of its old or all of its new content."""
    with open_durably(path) as stream:
        stream.write(text.encode())
