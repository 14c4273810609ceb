"""`GzipStream`: unpacks gzip that arrives in parts, in pieces of a bounded size."""

import zlib
from collections.abc import Iterator

from service.errors import UnreadableBody

PIECE_BYTES = 64 * 1024
# What is given to zlib at once. It copies what it leaves, so a body of tiny members would be copied once for each of them.
_SLICE_BYTES = 4 * 1024
_GZIP = 16 + zlib.MAX_WBITS


class GzipStream:
    """One member, or several one after another, as gzip itself takes them (RFC 1952, 2.2)."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        self._begun = False

    def unpack(self, packed: bytes) -> Iterator[bytes]:
        """Unpacks the next part of the stream, into pieces of at most `PIECE_BYTES` bytes.

        Raises:
            UnreadableBody: the stream is damaged, or is not gzip.
        """
        for start in range(0, len(packed), _SLICE_BYTES):
            yield from self._unpack(packed[start : start + _SLICE_BYTES])

    def check_end(self) -> None:
        """Call it after the last part.

        Raises:
            UnreadableBody: the stream ends within a member.
        """
        if self._begun and not self._member.eof:
            raise UnreadableBody("the gzip body ends too early: send all of it, and the right Content-Length")

    def _unpack(self, packed: bytes) -> Iterator[bytes]:
        left, full = packed, False
        while left or (full and not self._member.eof):  # a full piece: zlib may hold more, also without any input left
            if self._member.eof:
                self._member = zlib.decompressobj(_GZIP)
            self._begun = True
            try:
                piece = self._member.decompress(left, PIECE_BYTES)
            except zlib.error as error:
                raise UnreadableBody(
                    f"the body is not gzip, or is damaged ({error}): send it as gzip packs it, or without Content-Encoding"
                ) from error
            left = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            full = len(piece) == PIECE_BYTES
            if piece:
                yield piece
