"""Vectors: checked, and as text for answers and backups."""

import base64
from collections.abc import Sequence

import numpy as np

from service.errors import ModelFailed
from service.index import Vector


def finite(vectors: Sequence[Vector]) -> Sequence[Vector]:
    """Returns vectors of the model.

    Raises:
        ModelFailed: one is not finite.
    """
    if not all(np.isfinite(vector).all() for vector in vectors):
        raise ModelFailed("the model gave a vector that is not finite: nothing of this request was stored")
    return vectors


def vector_to_base64(vector: Vector) -> str:
    """Returns the base64 of a vector's little-endian float32 bytes. The vector has shape (dimensions,)."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")


def vector_from_base64(text: str) -> Vector:
    """Reverses `vector_to_base64`. Returns a vector (dimensions,); the length of the text determines the number of dimensions.

    Raises:
        ValueError: the text is not base64, or its bytes are not whole float32 numbers.
    """
    return np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4").astype(np.float32)
