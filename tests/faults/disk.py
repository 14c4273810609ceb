"""A disk of a test's own, which can be filled, and can fail."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from tests.requirements import REQUIREMENTS, missing


@contextmanager
def mounted(
    place: Path, options: str, *, kind: Literal["tmpfs", "ext4"] = "tmpfs", image: Path | None = None
) -> Iterator[None]:
    """A disk in memory, or in a file. Only root can mount one."""
    outcome = subprocess.run(
        ["mount", "-t", kind, "-o", options, image or "tmpfs", place], capture_output=True, text=True, check=False
    )
    if outcome.returncode:
        missing(f"no {kind} can be mounted here ({outcome.stderr.strip()}): {REQUIREMENTS['mount'].command}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def fill(disk: Path, leave_mib: int) -> Path:
    """Another program takes what is free."""
    status = os.statvfs(disk)
    filler = disk / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(status.f_bavail * status.f_frsize - leave_mib * 2**20, 1))
    return filler


def remount(disk: Path, option: str) -> subprocess.CompletedProcess[str]:
    """Changes how it is mounted, under whoever uses it: `ro`, or `abort`, by which ext4 takes it that the device has failed."""
    return subprocess.run(["mount", "-o", f"remount,{option}", disk], capture_output=True, text=True, check=False)
