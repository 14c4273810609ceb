"""`replace`, `recover` and `tidy`: another shard takes the place of an embedded index's, whole or not at all.

index/
├── shard/              what is served
├── shard.optimizing/   what `notellm-serve optimize` makes
└── shard.replaced/     what was served before: between two renames, and until it is removed
"""

import shutil
from pathlib import Path

from service.durable_files import sync, sync_tree

SHARD = "shard"
OPTIMIZING = "shard.optimizing"
REPLACED = "shard.replaced"


def replace(directory: Path) -> None:
    """Puts the shard that is being made in the place of the one that is served, which no process may have open.

    A process that ends in between leaves one of the two, whole: `recover` finds it.

    Raises:
        OSError: another process has come between.
    """
    sync_tree(directory / OPTIMIZING)
    (directory / SHARD).rename(directory / REPLACED)
    (directory / OPTIMIZING).rename(directory / SHARD)
    sync(directory)
    shutil.rmtree(directory / REPLACED, ignore_errors=True)


def recover(directory: Path) -> None:
    """Before a shard is opened: puts back what a process that ended between the two renames had put aside."""
    if not (directory / SHARD).exists() and (directory / REPLACED).exists():
        (directory / REPLACED).rename(directory / SHARD)


def tidy(directory: Path) -> None:
    """Removes what an interrupted process has left. For who has the shard open: nobody else is at work then."""
    for left in (OPTIMIZING, REPLACED):
        shutil.rmtree(directory / left, ignore_errors=True)
