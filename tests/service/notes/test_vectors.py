"""Vectors: checked, and as text."""

import base64
import struct

import numpy as np
import pytest

from service.errors import ModelFailed
from service.notes import vector_from_base64, vector_to_base64
from service.notes.vectors import finite


def test_a_vector_is_written_as_its_little_endian_float32_bytes() -> None:
    text = vector_to_base64(np.array([1.0, -0.5, 1 / 3], dtype=np.float32))
    assert struct.unpack("<3f", base64.b64decode(text)) == pytest.approx((1.0, -0.5, 1 / 3))


def test_a_vector_comes_back_bit_for_bit() -> None:
    vector = np.random.default_rng(0).standard_normal(48).astype(np.float32)
    read = vector_from_base64(vector_to_base64(vector))
    assert read.dtype == np.float32
    assert read.tobytes() == vector.tobytes()


@pytest.mark.parametrize("text", ["no base64", "AACAPw", "AACAP===", "AACA", "AAC APw=="])
def test_text_that_holds_no_float32_numbers_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        vector_from_base64(text)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_broken_vector_is_the_models_fault(wrong: float) -> None:
    vectors = [np.ones(3, np.float32), np.zeros(3, np.float32)]
    assert finite(vectors) is vectors
    vectors[1][2] = wrong
    with pytest.raises(ModelFailed, match="not finite"):
        finite(vectors)
