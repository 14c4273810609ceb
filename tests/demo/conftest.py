"""A small demo: an adapter on the tiny base, a few notes, their vectors."""

from collections.abc import Callable
from pathlib import Path

import pytest

import demo.vectors
from demo.vectors import write_vectors
from notellm import Checkpoint, Note
from training.config import TrainingConfig
from training.data import write_notes
from training.export import merge_adapter
from training.run import train

NOTES = [Note(id=f"n{index}", title=f"note number {index}") for index in range(7)]


@pytest.fixture(scope="session")
def merged(tmp_path_factory: pytest.TempPathFactory, run_config: Callable[..., TrainingConfig], tiny_base: Path) -> Checkpoint:
    folder = tmp_path_factory.mktemp("demo")
    config: TrainingConfig = run_config(method={"kind": "lora", "rank": 2})
    train(config, folder / "run")
    return merge_adapter(str(tiny_base), folder / "run" / "adapter", folder / "merged")


@pytest.fixture
def vectors(merged: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_notes(tmp_path / "notes.jsonl.gz", NOTES)
    monkeypatch.setattr(demo.vectors, "NOTES", tmp_path / "notes.jsonl.gz")
    path = tmp_path / "vectors.npz"
    write_vectors(merged, path)
    return path
