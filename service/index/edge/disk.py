"""`DiskReserve`: refuses writes to an index when its disk has too little free space."""

import shutil
from pathlib import Path

from service.errors import StartupError, StorageFull
from service.settings import MIB

# Opening an index touches the files that it maps, and allocates a new segment of the write-ahead log.
OPENING_BYTES = 64 * MIB


class DiskReserve:
    """Checks the free space before each write, because a write to a full disk would kill the process.

    Qdrant Edge maps its files into memory, including parts for which the file system has not allocated space yet. If the disk is full, the
    kernel does not refuse a write to such a part: it kills the process (SIGBUS).

    Args:
        directory: a directory on the disk.
        least_bytes: the number of bytes that must be free.
    """

    def __init__(self, directory: Path, least_bytes: int) -> None:
        self._directory = directory
        self.least_bytes = least_bytes

    def free_bytes(self) -> int:
        """Returns the free space. Raises `OSError` if the directory does not exist."""
        return shutil.disk_usage(self._directory).free

    def check_opening(self) -> None:
        """Raises `StartupError` if too little space is free to open an index."""
        free = self.free_bytes()
        if free < OPENING_BYTES:
            raise StartupError(
                f"the index {self._directory} cannot be opened: No space left on device, {free // MIB} MiB are free and "
                f"{OPENING_BYTES // MIB} are needed. Free disk space, or set NOTELLM_DATA_DIR to another disk"
            )

    def check(self) -> None:
        """Raises `StorageFull` if less than `least_bytes` is free."""
        free = self.free_bytes()
        if free < self.least_bytes:
            raise StorageFull(
                f"the disk of the index has {free // MIB} MiB free, and {self.least_bytes // MIB} must stay free: nothing was written. "
                "Free space, or move NOTELLM_DATA_DIR to a larger disk; reading and searching still work"
            )
