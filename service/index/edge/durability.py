"""`Durability`: brings writes of an embedded index to the disk before any client is told that they are stored."""

from collections.abc import Sequence

import qdrant_edge as edge

from service.index.edge.integrity import Ledger, count


class Durability:
    """Writes a shard and its ledger.

    Args:
        shard: the open shard.
        ledger: counts the shard's notes.
    """

    def __init__(self, shard: edge.EdgeShard, ledger: Ledger) -> None:
        self._shard = shard
        self._ledger = ledger
        self._behind = False

    def write(self, operations: "Sequence[edge.UpdateOperation]") -> None:
        """Applies operations, and returns when they are on the disk."""
        self._behind = True
        for operation in operations:
            self._shard.update(operation)
        self.catch_up()

    def catch_up(self) -> None:
        """Brings earlier writes to the disk if that failed before."""
        if self._behind:
            self._shard.flush()  # the write-ahead log alone is not synced to disk
            self._ledger.write(count(self._shard))
            self._behind = False

    def retrieve(self, points: "list[edge.PointId]", *, with_vectors: bool = False) -> "list[edge.Record]":
        """Returns the points that exist. Calls `catch_up` first, because the caller may tell a client that a note is stored."""
        self.catch_up()
        return self._shard.retrieve(points, True, with_vectors)

    def expect_fewer(self, notes: int) -> None:
        """Lowers the ledger before notes are deleted, so that it is not too high if the process is killed afterwards."""
        self._ledger.write(max(0, count(self._shard) - notes))

    def close(self) -> None:
        """Closes the ledger."""
        self._ledger.close()
