"""`notellm-train fit-projection`: learns from a behaviour log without training."""

import json
import logging
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from notellm.checkpoint import Checkpoint
from notellm.model import NoteLLM
from notellm.prompt import NotePrompt
from notellm.saving import refuse_existing, save_checkpoint
from training.config import TrainingConfig
from training.data import load_dataset
from training.export import RECORD
from training.model import EMB_TOKEN, BehaviourFit, add_tokens, load_base, state_encoder, token_classes
from training.model_card import model_card
from training.precision import on_this_machine
from training.run import facts, git_revision, record
from training.weighing import hashtag_evidence

Loaded = tuple[Any, Any, NotePrompt]


def fit_projection(
    config: Annotated[
        Path, typer.Argument(help="YAML file of a `TrainingConfig`; its data, name and model settings are used.")
    ],
    output: Annotated[Path, typer.Argument(help="Directory to write the checkpoint to.")],
    override: Annotated[
        list[str] | None, typer.Option("--set", help="A setting, `model.token_vectors=true`; repeat the option.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Checkpoint whose language model is used; by default the config's base model.")
    ] = None,
) -> None:
    """Solves for the projection that makes co-occurring notes alike, and writes a checkpoint with it. It needs no GPU."""
    logging.getLogger("training").setLevel(logging.INFO)
    settings = TrainingConfig.load(config, override or ())
    refuse_existing(output)
    if settings.compute.threads:
        torch.set_num_threads(settings.compute.threads)
    source = Checkpoint.open(checkpoint) if checkpoint else None
    causal_lm, tokenizer, prompt = _of_checkpoint(source) if source else _of_base(settings)
    dataset = load_dataset(settings.data)
    classes = token_classes(tokenizer, int(causal_lm.config.vocab_size)) if settings.model.token_vectors else None
    encode = state_encoder(causal_lm, prompt, on_this_machine(settings.compute.precision))
    fit = BehaviourFit(encode, prompt, dataset, classes=classes, most_notes=settings.model.projection_notes)
    head = fit.solve(settings.model.dimensions)
    recall = fit.recall(head)
    metrics = {f"validation_cooccurrence_recall@{fit.k}": recall} if recall is not None else {}
    content = record(settings, git_revision()) | {"fitted": "projection"}
    model = NoteLLM(causal_lm, head.projection, head.tokens)
    evidence = hashtag_evidence(settings, dataset, model, prompt)
    stated = facts(settings, dataset, metrics).model_copy(update={"hashtag_evidence": evidence})
    if source:
        content["fitted_checkpoint"] = _record_of(source)
        stated = stated.model_copy(update={"prompt": source.manifest.prompt, "base_model": source.manifest.base_model})
    made = save_checkpoint(
        output,
        model,
        tokenizer,
        stated,
        extra={RECORD: content},
        card=model_card(stated, content, with_tokens=head.tokens is not None),
    )
    found = "".join(f", {name} {value:.3f}" for name, value in metrics.items())
    typer.echo(f"{made.path}: {made.manifest.name}, {made.manifest.dimensions} dimensions{found}")


def _of_base(settings: TrainingConfig) -> Loaded:
    causal_lm, tokenizer = load_base(settings.model.base, torch.float32)
    add_tokens(causal_lm, tokenizer)
    return causal_lm, tokenizer, NotePrompt(tokenizer, tokenizer.added_tokens_encoder[EMB_TOKEN], settings.model.prompt)


def _of_checkpoint(source: Checkpoint) -> Loaded:
    return source.load_model().causal_lm, source.tokenizer, source.prompt()


def _record_of(source: Checkpoint) -> dict[str, Any]:
    """The name of the checkpoint, and the settings that it was trained with, so that leaks of test notes can still be found."""
    path = source.path / RECORD
    trained = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {"name": source.manifest.name, "data_fingerprint": source.manifest.data_fingerprint, **trained}
