"""`Durability`: what an embedded index has been told is on the disk before anybody hears that it is stored."""

from collections.abc import Sequence

import qdrant_edge as edge

from service.index.edge.integrity import Ledger, count


class Durability:
    """Writes a shard and its ledger.

    Args:
        shard: that is open.
        ledger: of its notes.
    """

    def __init__(self, shard: edge.EdgeShard, ledger: Ledger) -> None:
        self._shard = shard
        self._ledger = ledger
        self._behind = False

    def write(self, operations: "Sequence[edge.UpdateOperation]") -> None:
        """Does them, and returns when they are on the disk."""
        self._behind = True
        for operation in operations:
            self._shard.update(operation)
        self.catch_up()

    def catch_up(self) -> None:
        """Brings to the disk what was written and could not be brought there, if there is anything."""
        if self._behind:
            self._shard.flush()  # the write-ahead log alone is not synced to disk
            self._ledger.write(count(self._shard))
            self._behind = False

    def retrieve(self, points: "list[edge.PointId]", *, with_vectors: bool = False) -> "list[edge.Record]":
        """Those of the points that there are. Who finds a note here may tell a client that it is stored: `catch_up` comes first."""
        self.catch_up()
        return self._shard.retrieve(points, True, with_vectors)

    def expect_fewer(self, notes: int) -> None:
        """Before so many notes are deleted: a ledger that is killed afterwards must not count them."""
        self._ledger.write(max(0, count(self._shard) - notes))

    def close(self) -> None:
        """Closes the ledger."""
        self._ledger.close()
