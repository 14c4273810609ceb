"""`without_token_vectors`: a checkpoint that peers can read."""

from pathlib import Path

from notellm import Checkpoint
from notellm.model import NoteLLM
from notellm.saving import CheckpointFacts, save_checkpoint


def without_token_vectors(checkpoint: Checkpoint, directory: Path) -> Checkpoint:
    """The same checkpoint, or a copy without its token vectors: the pooling of other engines cannot add them.

    Args:
        checkpoint: the checkpoint.
        directory: where the copy is written, if one is needed.
    """
    if checkpoint.load_token_vectors() is None:
        return checkpoint
    model = checkpoint.load_model()
    facts = CheckpointFacts.model_validate(checkpoint.manifest.model_dump(include=set(CheckpointFacts.model_fields)))
    return save_checkpoint(directory / "plain", NoteLLM(model.causal_lm, model.projection), checkpoint.tokenizer, facts)
