"""What a power cut must find as whole as a kill does: files, and the names under which directories hold them."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Brings a file, or the names in a directory, to the disk.

    Raises:
        OSError: the disk does not take it.
    """
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def sync_tree(directory: Path) -> None:
    """Brings all that lies in a directory to the disk."""
    for parent, _, names in os.walk(directory):
        for name in names:
            sync(Path(parent) / name)
        sync(Path(parent))


def make_directory(path: Path) -> None:
    """Makes a directory, and those above it, where they are missing."""
    missing = [place for place in (path, *path.parents) if not place.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync(made.parent)


def replace_durably(path: Path, text: str) -> None:
    """Writes a file that is there whole or as it was."""
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync(path.parent)
