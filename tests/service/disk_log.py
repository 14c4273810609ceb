"""In which order a program brings files and their names to the disk."""

import os
from pathlib import Path

import pytest


def log_disk(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lines that are added as it happens: `sync NAME` of a file or a directory, and `rename NAME to NAME`. All of it is done, too."""
    log: list[str] = []
    fsync, replace, rename = os.fsync, Path.replace, Path.rename

    def log_sync(opened: int) -> None:
        log.append(f"sync {Path(f'/proc/self/fd/{opened}').readlink().name}")
        fsync(opened)

    def log_replace(path: Path, target: Path) -> Path:
        log.append(f"rename {path.name} to {target.name}")
        return replace(path, target)

    def log_rename(path: Path, target: Path) -> Path:
        log.append(f"rename {path.name} to {target.name}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", log_sync)
    monkeypatch.setattr(Path, "replace", log_replace)
    monkeypatch.setattr(Path, "rename", log_rename)
    return log
