"""`DiskReserve`: the free space that a disk must keep for an index to take writes."""

import shutil
from pathlib import Path

from service.errors import StorageFull

MIB = 2**20


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
        self._least_bytes = least_bytes

    def check(self) -> None:
        """Raises `StorageFull` where less is free."""
        free = shutil.disk_usage(self._directory).free
        if free < self._least_bytes:
            raise StorageFull(
                f"the disk of the index has {free // MIB} MiB free and {self._least_bytes // MIB} are kept back: nothing was written. "
                "Free space, or move NOTELLM_DATA_DIR to a larger disk; reading and searching go on"
            )
