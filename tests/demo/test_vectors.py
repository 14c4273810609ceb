"""The committed vectors: refused with another checkpoint or other notes, whole in the index."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

import demo.vectors
from demo.checkpoint import ADAPTER, NOTES as SHIPPED
from demo.vectors import index_sample, read_vectors, write_vectors
from notellm import Checkpoint
from tests.demo.conftest import NOTES
from training.data import read_notes
from training.errors import TrainingError
from training.export import adapter_digest


def test_vectors_are_read_back_as_unit_vectors(merged: Checkpoint, vectors: Path) -> None:
    read = read_vectors(merged, NOTES, vectors)
    assert read.shape == (len(NOTES), merged.manifest.dimensions)
    assert np.allclose(np.linalg.norm(read, axis=1), 1, atol=1e-6)


def test_those_of_another_checkpoint_are_refused(tiny: Checkpoint, vectors: Path) -> None:
    with pytest.raises(TrainingError, match="made with another checkpoint"):
        read_vectors(tiny, NOTES, vectors)


def test_a_checkpoint_that_was_not_merged_from_an_adapter_gives_none(tiny: Checkpoint, vectors: Path) -> None:
    before = vectors.read_bytes()
    with pytest.raises(TrainingError, match="not merged from an adapter"):
        write_vectors(tiny, vectors)
    assert vectors.read_bytes() == before


def test_those_of_other_notes_are_refused(merged: Checkpoint, vectors: Path) -> None:
    with pytest.raises(TrainingError, match="made from other notes"):
        read_vectors(merged, list(reversed(NOTES)), vectors)


def test_the_sample_is_indexed_once(merged: Checkpoint, vectors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo.vectors, "VECTORS", vectors)
    monkeypatch.setattr(read_vectors, "__defaults__", (vectors,))
    for _ in range(2):
        assert asyncio.run(index_sample(merged, tmp_path / "index")) == len(NOTES)


def test_the_shipped_vectors_fit_the_shipped_notes() -> None:
    notes = list(read_notes(SHIPPED))
    with np.load(demo.vectors.VECTORS) as kept:
        assert kept["vectors"].shape == (len(notes), 128)
        assert str(kept["adapter"]) == adapter_digest(ADAPTER)
