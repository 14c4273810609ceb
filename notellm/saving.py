"""Writes a checkpoint directory completely, or not at all."""

import json
import shutil
import tempfile
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerBase

from notellm.checkpoint import (
    ARCHITECTURE,
    DENSE,
    MANIFEST,
    PLAIN_VERSION,
    TOKENS_VERSION,
    Category,
    Checkpoint,
    FileDigest,
    Manifest,
    ModelName,
    manifest_digest,
)
from notellm.errors import CheckpointError
from notellm.evidence import EvidenceWeights
from notellm.model import NoteLLM
from notellm.prompt import PromptSettings
from notellm.token_vectors import save_token_vectors

# The module names that every reader of this layout knows (sentence-transformers, vLLM, text-embeddings-inference).
_MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": DENSE, "type": "sentence_transformers.models.Dense"},
    {"idx": 3, "name": "3", "path": "3_Normalize", "type": "sentence_transformers.models.Normalize"},
]
# With token vectors, a reader that knows only Dense must not find one: its vectors would lack what the tokens add. Without any it gives
# hidden states, whose length differs, or refuses.
_NOTE_HEAD = {"idx": 2, "name": "2", "path": DENSE, "type": "notellm.sentence_transformers_head.NoteHead"}


class CheckpointFacts(BaseModel):
    """The fields of `Manifest` that the writer of a checkpoint must state."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ModelName
    base_model: str = Field(min_length=1)
    prompt: PromptSettings = PromptSettings()
    emb_token: str = "[EMB]"  # noqa: S105
    categories: tuple[Category, ...] = ()
    hashtag_vocabulary: tuple[str, ...] = ()
    data_fingerprint: str | None = None
    hashtag_evidence: EvidenceWeights | None = None
    metrics: dict[str, float] = Field(default_factory=dict)


def save_checkpoint(
    path: Path | str, model: NoteLLM, tokenizer: PreTrainedTokenizerBase, facts: CheckpointFacts, *,
    extra: dict[str, object] | None = None, card: str | None = None,
) -> Checkpoint:  # fmt: skip
    """Writes the directory beside `path`, checks it, and then moves it to `path` in one step.

    Args:
        path: where to put the checkpoint; it must not exist or must be an empty directory.
        model: its weights are written in the dtype that they have, the projection in float32.
        tokenizer: contains `facts.emb_token` and a pad token that differs from its eos token.
        facts: the fields of `notellm.json` that cannot be read from the model.
        extra: more JSON files, by name. They are for people; no program reads them.
        card: the model card, `README.md`.

    Raises:
        CheckpointError: `path` is taken, a weight is not finite, the disk does not take it, or what was written cannot be opened.
    """
    target = Path(path)
    refuse_existing(target)
    _refuse_infinite(target, model)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        partial.chmod(0o755)
        for name, content in (extra or {}).items():
            write_json(partial / name, content)
        _write(partial, model, tokenizer, facts)
        if card is not None:
            (partial / "README.md").write_text(card, encoding="utf-8")
        Checkpoint.open(partial).prompt()
        partial.replace(target)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(target, f"could not be written ({error}): free disk space and try again") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Checkpoint.open(target, verify="size")


def refuse_existing(target: Path) -> None:
    """Raises `CheckpointError` if `target` is taken: a checkpoint is never overwritten."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise CheckpointError(target, "already exists: choose another directory or remove it first")


def _refuse_infinite(target: Path, model: NoteLLM) -> None:
    """Raises `CheckpointError` if a weight is not finite: a service would load it, and answer each request with an error."""
    weights = {name: weight.detach() for name, weight in model.causal_lm.named_parameters()}
    weights["the projection"] = model.projection.weight.detach()
    if model.tokens is not None:
        weights["the token vectors, in half precision"] = model.tokens.weight.detach().half()  # as they are written
    for name, weight in weights.items():
        if not torch.isfinite(weight).all():
            raise CheckpointError(
                target,
                f"was not written: {name} would hold numbers that are not finite. Are the training notes nearly all alike, or is the "
                "learning rate too high?",
            )


def _write(root: Path, model: NoteLLM, tokenizer: PreTrainedTokenizerBase, facts: CheckpointFacts) -> None:
    causal_lm = model.causal_lm
    causal_lm.config.architectures = [ARCHITECTURE]
    causal_lm.config.pad_token_id = tokenizer.pad_token_id
    causal_lm.save_pretrained(root)
    tokenizer.save_pretrained(root)
    _write_sentence_transformers_layout(root, model)
    for file in root.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)
    manifest = Manifest(
        format_version=PLAIN_VERSION if model.tokens is None else TOKENS_VERSION,
        **facts.model_dump(),
        emb_token_id=tokenizer.convert_tokens_to_ids(facts.emb_token),
        hidden_size=causal_lm.config.hidden_size,
        dimensions=model.dimensions,
        files={f.relative_to(root).as_posix(): FileDigest.of(f) for f in sorted(root.rglob("*")) if f.is_file()},
    )
    # Readers of checkpoints that know nothing of evidence refuse its name.
    content = manifest.model_dump(mode="json", exclude=None if facts.hashtag_evidence else {"hashtag_evidence"})
    content["digest"] = manifest_digest(content)
    write_json(root / MANIFEST, content)


def _write_sentence_transformers_layout(root: Path, model: NoteLLM) -> None:
    projection = model.projection
    modules = _MODULES if model.tokens is None else [*_MODULES[:2], _NOTE_HEAD, _MODULES[3]]
    write_json(root / "modules.json", modules)
    write_json(root / "sentence_bert_config.json", {"max_seq_length": model.causal_lm.config.max_position_embeddings})
    pooling = {
        "word_embedding_dimension": projection.in_features,
        "pooling_mode_lasttoken": True,
        "include_prompt": True,
    }
    write_json(root / "1_Pooling" / "config.json", pooling)
    dense = {
        "in_features": projection.in_features,
        "out_features": projection.out_features,
        "bias": projection.bias is not None,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    write_json(root / DENSE / "config.json", dense)
    weights = {f"linear.{name}": tensor.detach().float().cpu().contiguous() for name, tensor in projection.state_dict().items()}
    save_file(weights, root / DENSE / "model.safetensors", metadata={"format": "pt"})
    if model.tokens is not None:
        save_token_vectors(root / DENSE, model.tokens)
    write_json(root / "3_Normalize" / "config.json", {})


def write_json(path: Path, content: object) -> None:
    """Writes a file of a checkpoint or an adapter, and makes its directory if it is missing."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
