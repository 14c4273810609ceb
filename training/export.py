"""Turns trained weights into the checkpoint directory that the service, vLLM and sentence-transformers load."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from notellm.checkpoint import Checkpoint
from notellm.model import NoteLLM
from notellm.saving import CheckpointFacts, refuse_existing, save_checkpoint, write_json
from notellm.token_vectors import TOKENS, read_token_vectors, save_token_vectors
from training.errors import BaseModelError
from training.loop import saving
from training.model import Built, add_tokens, linear, load_base
from training.model_card import model_card

PROJECTION, FACTS, RECORD = "projection.safetensors", "facts.json", "training.json"


def export(built: Built, facts: CheckpointFacts, directory: Path, record: dict[str, Any]) -> Checkpoint:
    """Writes the merged model to `directory/checkpoint`, and its adapters, if there are any, to `directory/adapter`.

    Args:
        built: the trained model; its adapters are merged into it.
        facts: the content of the manifest.
        directory: the run's directory.
        record: hyper-parameters and code revision, saved as `training.json` beside the weights.
    """
    causal_lm = built.model.note_llm.causal_lm
    causal_lm.set_attn_implementation("sdpa")
    if built.adapters is not None:
        # An earlier export of this run may have left an incomplete directory.
        shutil.rmtree(directory / "adapter", ignore_errors=True)
        save_adapter(directory / "adapter", built.adapters, built.model.note_llm, facts, record)
        causal_lm = built.adapters.merge_and_unload()
    model = NoteLLM(causal_lm, built.model.note_llm.projection, built.model.note_llm.tokens)
    return _save(directory / "checkpoint", model, built.tokenizer, facts, record)


def save_adapter(directory: Path, adapters: PeftModel, note_llm: NoteLLM, facts: CheckpointFacts, record: Any) -> None:
    """Writes only what training changed: megabytes instead of the whole model.

    Raises:
        SaveError: the directory could not be written.
    """
    refuse_existing(directory)
    with saving(directory):
        _write_adapter(directory, adapters, note_llm, facts, record)


def _write_adapter(directory: Path, adapters: PeftModel, note_llm: NoteLLM, facts: CheckpointFacts, record: Any) -> None:
    adapters.save_pretrained(str(directory), save_embedding_layers=False)
    for stray in ("README.md",):
        (directory / stray).unlink(missing_ok=True)
    config = json.loads((directory / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = facts.base_model
    write_json(directory / "adapter_config.json", config)
    save_file({"weight": note_llm.projection.weight.detach().float().cpu().contiguous()}, directory / PROJECTION)
    if note_llm.tokens is not None:
        save_token_vectors(directory, note_llm.tokens)
    write_json(directory / FACTS, facts.model_dump(mode="json"))
    write_json(directory / RECORD, record)


def merge_adapter(base: str, adapter: Path, output: Path, dtype: torch.dtype | None = None) -> Checkpoint:
    """Makes the checkpoint of a run from its base model and its adapter directory.

    Args:
        base: the base model that the run started from, `model.base`.
        adapter: the run's `adapter/`.
        output: directory to write.
        dtype: dtype of the weights; None for float32, in which they were trained.

    Raises:
        BaseModelError: the base or the adapter cannot be read, or they do not match.
    """
    refuse_existing(output)
    causal_lm, tokenizer = load_base(base, torch.float32)
    add_tokens(causal_lm, tokenizer)
    try:
        facts = CheckpointFacts.model_validate_json((adapter / FACTS).read_text(encoding="utf-8"))
        record = json.loads((adapter / RECORD).read_text(encoding="utf-8"))
        projection = linear(load_file(adapter / PROJECTION)["weight"])
        merged = PeftModel.from_pretrained(causal_lm, str(adapter)).merge_and_unload()
        tokens = read_token_vectors(adapter) if (adapter / TOKENS).exists() else None
        model = NoteLLM(merged.to(dtype or torch.float32), projection, tokens)
    except (OSError, ValueError, KeyError, RuntimeError, ValidationError, SafetensorError) as error:
        raise BaseModelError(f"{adapter} cannot be merged into {base}: {error}") from error
    return _save(output, model, tokenizer, facts, record | {"adapter": adapter_digest(adapter)})


def adapter_digest(adapter: Path) -> str:
    """SHA-256 (hex) of an adapter directory's files. It is the same on every machine; that of a merged checkpoint is not."""
    digests = (f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in sorted(adapter.iterdir()))
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _save(path: Path, model: NoteLLM, tokenizer: Any, facts: CheckpointFacts, record: Any) -> Checkpoint:
    return save_checkpoint(
        path,
        model.eval(),
        tokenizer,
        facts,
        extra={RECORD: record},
        card=model_card(facts, record, with_tokens=model.tokens is not None),
    )
