"""`DiskReserve`: the free space that a disk must keep for an index to take writes."""

import shutil
from pathlib import Path

from service.errors import StartupError, StorageFull
from service.settings import MIB

# Opening an index touches the files that it maps, and lays out a new piece of the write-ahead log.
OPENING_BYTES = 64 * MIB


class DiskReserve:
    """Looks before each write, since afterwards is too late.

    Qdrant Edge maps its files into memory, with room in them that the file system has not given yet. On a full disk the kernel does not
    refuse such a write but ends the process (SIGBUS).

    Args:
        directory: on the disk that is meant.
        least_bytes: that must be free.
    """

    def __init__(self, directory: Path, least_bytes: int) -> None:
        self._directory = directory
        self.least_bytes = least_bytes

    def free_bytes(self) -> int:
        """Raises `OSError` where the directory is gone."""
        return shutil.disk_usage(self._directory).free

    def check_opening(self) -> None:
        """Raises `StartupError` where too little is free to open an index."""
        free = self.free_bytes()
        if free < OPENING_BYTES:
            raise StartupError(
                f"the index {self._directory} cannot be opened: No space left on device, {free // MIB} MiB are free and "
                f"{OPENING_BYTES // MIB} are needed. Free disk space, or set NOTELLM_DATA_DIR to another disk"
            )

    def check(self) -> None:
        """Raises `StorageFull` where less is free."""
        free = self.free_bytes()
        if free < self.least_bytes:
            raise StorageFull(
                f"the disk of the index has {free // MIB} MiB free and {self.least_bytes // MIB} are kept back: nothing was written. "
                "Free space, or move NOTELLM_DATA_DIR to a larger disk; reading and searching go on"
            )
