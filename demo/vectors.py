"""The vectors of the sample notes, kept in the repository so that the demo does not have to compute them.

    python -m demo.vectors CHECKPOINT     computes and writes them again

The vectors are float16 and belong to one adapter; with another adapter they are refused. The adapter is identified by its own digest,
because the last bits of a merged checkpoint depend on the machine that merged it.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from demo.checkpoint import NOTES, adapter_of
from notellm import Checkpoint, Note, NoteEncoder
from notellm.checkpoint import vector_name_of
from notellm.errors import NoteLLMError
from service.index import EdgeIndex, IndexedNote
from training.data import fingerprint, read_notes
from training.errors import TrainingError

VECTORS = Path(__file__).with_name("vectors.npz")
BATCH = 256


def read_vectors(
    checkpoint: Checkpoint, notes: Sequence[Note], path: Path = VECTORS
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Unit vectors in the order of the notes, (notes, dimensions).

    Raises:
        TrainingError: the vectors belong to another checkpoint or to other notes.
    """
    with np.load(path) as kept:
        made_with, made_of, vectors = str(kept["adapter"]), str(kept["notes"]), kept["vectors"].astype(np.float32)
    if made_with != adapter_of(checkpoint):
        raise TrainingError(
            f"{path.name} was made with another checkpoint: write it again with python -m demo.vectors CHECKPOINT"
        )
    if made_of != fingerprint(notes):
        raise TrainingError(f"{path.name} was made from other notes: write it again with python -m demo.vectors CHECKPOINT")
    unit: np.ndarray[tuple[int, int], np.dtype[np.float32]] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def write_vectors(checkpoint: Checkpoint, path: Path = VECTORS) -> None:
    """Computes and writes the vectors of all sample notes.

    Raises:
        TrainingError: the checkpoint was not merged from an adapter, so the vectors could not be assigned to one.
    """
    adapter = adapter_of(checkpoint)
    if adapter is None:
        raise TrainingError(
            f"{checkpoint.path} was not merged from an adapter: make it with python -m demo.checkpoint DIRECTORY"
        )
    notes, prompt = list(read_notes(NOTES)), checkpoint.prompt()
    encoder = NoteEncoder(checkpoint.load_model(), prompt.embedding_prefix)
    vectors = encoder.encode([prompt.embedding(note) for note in prompt.tokenize(notes)])
    np.savez_compressed(path, vectors=vectors.astype(np.float16), adapter=adapter, notes=fingerprint(notes))


async def index_sample(checkpoint: Checkpoint, directory: Path) -> int:
    """Stores all sample notes in the service's index and returns its number of notes. The service must not be running."""
    notes = list(read_notes(NOTES))
    vectors = read_vectors(checkpoint, notes)
    index = EdgeIndex.open(directory, vector_name=vector_name_of(checkpoint), dimensions=checkpoint.manifest.dimensions)
    try:
        if await index.count() < len(notes):
            for start in range(0, len(notes), BATCH):
                part = slice(start, start + BATCH)
                await index.upsert(
                    [IndexedNote(note.payload(), vector) for note, vector in zip(notes[part], vectors[part], strict=True)]
                )
        return await index.count()
    finally:
        await index.close()


if __name__ == "__main__":
    try:
        write_vectors(Checkpoint.open(sys.argv[1]))
    except (NoteLLMError, TrainingError) as error:
        sys.exit(f"demo: {error}")
