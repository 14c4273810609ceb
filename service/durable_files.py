"""Durable files: writes of files and directory entries that survive a power cut, not only the end of the process."""

import os
from pathlib import Path


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


def replace_durably(path: Path, text: str) -> None:
    """Replaces the content of a file. After a crash the file has either all of its old or all of its new content."""
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync(path.parent)
