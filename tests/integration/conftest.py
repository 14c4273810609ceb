"""The real model, loaded once."""

import json
from pathlib import Path

import pytest

from demo.checkpoint import NOTES, ensure_checkpoint
from notellm import Checkpoint, Note, NoteEncoder, NoteLLM
from training.data import read_notes

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def smollm2() -> Checkpoint:
    return Checkpoint.open(ensure_checkpoint(ROOT / "checkpoints" / "demo").path)


@pytest.fixture(scope="session")
def model(smollm2: Checkpoint) -> NoteLLM:
    return smollm2.load_model()


@pytest.fixture(scope="session")
def encoder(smollm2: Checkpoint, model: NoteLLM) -> NoteEncoder:
    return NoteEncoder(model, smollm2.prompt().embedding_prefix)


@pytest.fixture(scope="session")
def notes() -> list[Note]:
    return list(read_notes(NOTES))


@pytest.fixture(scope="session")
def fixed_sample(notes: list[Note]) -> list[Note]:
    """Twenty notes of each site, drawn once."""
    by_id = {note.id: note for note in notes}
    return [by_id[note_id] for note_id in json.loads((Path(__file__).parent / "sample.json").read_text())]
