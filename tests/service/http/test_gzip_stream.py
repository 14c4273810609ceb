"""Gzip in one part, in many, in several members; damaged, cut off, and made to grow."""

import gzip
import tracemalloc
import zlib
from collections.abc import Iterable

import pytest
from hypothesis import given, strategies as st

from service.errors import UnreadableBody
from service.http.gzip_stream import PIECE_BYTES, GzipStream

TEXT = b"grind finer? " * 1000


def unpack(parts: Iterable[bytes]) -> bytes:
    stream = GzipStream()
    pieces = [piece for part in parts for piece in stream.unpack(part)]
    stream.check_end()
    assert all(0 < len(piece) <= PIECE_BYTES for piece in pieces)
    return b"".join(pieces)


@given(st.lists(st.binary(max_size=300).map(lambda text: text * 700), max_size=4), st.integers(1, 9000), st.integers(0, 9))
def test_members_in_parts(texts: list[bytes], size: int, level: int) -> None:
    packed = b"".join(gzip.compress(text, level) for text in texts)
    assert unpack(packed[start : start + size] for start in range(0, len(packed), size)) == b"".join(texts)


@pytest.mark.parametrize("length", [PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES, 3 * PIECE_BYTES + 258])
def test_what_zlib_still_holds_when_all_input_is_taken(length: int) -> None:
    for packed in (gzip.compress(b"x" * length), gzip.compress(b"x" * length) * 2):
        assert unpack([packed]) == b"x" * length * (len(packed) // len(gzip.compress(b"x" * length)))
        assert unpack(packed[at : at + 1] for at in range(len(packed))) == unpack([packed])


def test_nothing_is_nothing() -> None:
    assert unpack([]) == unpack([b"", b""]) == unpack([gzip.compress(b"")] * 3) == b""


def test_a_stream_that_is_cut_off() -> None:
    packed = gzip.compress(TEXT)
    for length in range(1, len(packed)):
        with pytest.raises(UnreadableBody, match="ends too early"):
            unpack([packed[:length]])
    with pytest.raises(UnreadableBody, match="ends too early"):
        unpack([packed, packed[:5]])


@pytest.mark.parametrize(
    "packed",
    [b"{}", TEXT, zlib.compress(TEXT), gzip.compress(TEXT) + b"{}", gzip.compress(TEXT)[:-8] + bytes(8),
     gzip.compress(TEXT).replace(b"\x1f\x8b\x08", b"\x1f\x8b\x07", 1)],
    ids=["JSON", "text", "zlib", "JSON behind it", "a wrong checksum", "an unknown method"],
)  # fmt: skip
def test_what_is_not_gzip(packed: bytes) -> None:
    with pytest.raises(UnreadableBody, match="is not gzip, or is damaged"):
        unpack([packed])


def test_a_bomb_is_held_a_piece_at_a_time() -> None:
    """100 MB out of 100 kB: whoever takes the pieces decides when it is enough."""
    packed = gzip.compress(bytes(100 * 2**20))
    assert len(packed) < 200_000
    stream, taken = GzipStream(), 0
    tracemalloc.start()
    for piece in stream.unpack(packed):
        taken += len(piece)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken == 100 * 2**20
    assert peak < 10 * PIECE_BYTES


def test_tiny_members_are_not_copied_again_and_again() -> None:
    """Each member's rest is at most a slice, so that the work grows with the length and not with its square."""
    packed = gzip.compress(b"") * 20_000
    assert unpack([packed]) == b""
