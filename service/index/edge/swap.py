"""`replace`, `recover` and `tidy`: replace the shard of an embedded index by another one, completely or not at all.

index/
├── shard/              the served shard
├── shard.optimizing/   the new shard that `notellm-serve optimize` is building
└── shard.replaced/     the old shard: exists between the two renames, and until it is removed
"""

import shutil
from pathlib import Path

from service.durable_files import sync, sync_tree

SHARD = "shard"
OPTIMIZING = "shard.optimizing"
REPLACED = "shard.replaced"


def replace(directory: Path) -> None:
    """Replaces the served shard by the new one. No process may have the served shard open.

    If the process is killed in between, one of the two shards is left complete, and `recover` finds it.

    Raises:
        OSError: another process has interfered.
    """
    sync_tree(directory / OPTIMIZING)
    (directory / SHARD).rename(directory / REPLACED)
    (directory / OPTIMIZING).rename(directory / SHARD)
    sync(directory)
    shutil.rmtree(directory / REPLACED, ignore_errors=True)


def recover(directory: Path) -> None:
    """Puts back the old shard if a process was killed between the two renames. Call it before opening a shard."""
    if not (directory / SHARD).exists() and (directory / REPLACED).exists():
        (directory / REPLACED).rename(directory / SHARD)


def tidy(directory: Path) -> None:
    """Removes what an interrupted process has left. Call it only while the shard is open: then no other process is replacing it."""
    for left in (OPTIMIZING, REPLACED):
        shutil.rmtree(directory / left, ignore_errors=True)
