"""`TrainingConfig`: everything that decides a run, as a YAML file with command-line overrides.

Each part is configured by a class beside it; those of the optimiser and the machine are here. docs/training.md explains how to
choose.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from notellm.checkpoint import ModelName
from notellm.prompt import PromptSettings
from training.batches import ExampleSettings
from training.data import DataSettings
from training.errors import ConfigError
from training.precision import Precision


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelSettings(_Settings):
    """What training starts from."""

    base: str = Field(
        description="LLaMA-family model: a Hugging Face directory, a hub id, a .gguf file, or `package:NAME/FILE`, a file that "
        "an installed Python package carries."
    )
    dimensions: int = Field(default=128, ge=1, description="d: length of the embedding (paper: 128).")
    projection: Literal["random", "principal"] = Field(
        default="random",
        description="Where the projection starts: `random` directions, or the `principal` ones of a sample of the training "
        "notes' hidden states, their mean direction left out. The latter needs fewer steps.",
    )
    projection_notes: int = Field(default=256, ge=2, description="Notes of the sample for `principal`.")
    prompt: PromptSettings = PromptSettings()


class LoraSettings(_Settings):
    """Train low-rank adapters, the projection and the row of `[EMB]`."""

    kind: Literal["lora"] = "lora"
    rank: int = Field(default=16, ge=1, description="Rank of the adapters.")
    alpha: float = Field(default=32, gt=0, description="Their scale is alpha / rank.")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout before an adapter.")
    modules: tuple[str, ...] = Field(
        default=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        min_length=1,
        description="Linear layers that get an adapter.",
    )
    frozen_layers: int = Field(default=0, ge=0, description="Lowest layers without adapters.")
    train_emb_row: bool = Field(default=True, description="Train the row of `[EMB]` in the embedding table.")


class FullSettings(_Settings):
    """Train all weights, or those above the lowest layers."""

    kind: Literal["full"] = "full"
    frozen_layers: int = Field(
        default=0, ge=0, description="Lowest layers that are not trained; if any, nor is the embedding table."
    )


class LossSettings(_Settings):
    """L = (L_cl + α L_gen) / (1 + α)."""

    alpha: float = Field(default=0.01, ge=0, description="α: weight of the generative loss (paper: 0.01). 0: GCL only.")
    contrastive: bool = Field(default=True, description="False: CSFT only.")
    temperature: float = Field(default=3.0, description="Where τ starts; cosines are multiplied by e^τ (paper: 3).")

    @model_validator(mode="after")
    def _something_to_learn(self) -> "LossSettings":
        if not self.contrastive and self.alpha == 0:
            raise ValueError("contrastive is false and alpha is 0: nothing is left to train on")
        return self


class OptimizerSettings(_Settings):
    """AdamW with warm-up."""

    learning_rate: float = Field(
        default=3e-6, gt=0, description="Peak learning rate (the paper's code: 3e-6, full fine-tuning)."
    )
    head_learning_rate: float | None = Field(
        default=None, gt=0, description="Peak learning rate of the projection and of τ; that of the rest when not given."
    )
    weight_decay: float = Field(default=1e-3, ge=0, description="Not applied to norms, biases and τ.")
    warmup_share: float = Field(default=0.1, ge=0, lt=1, description="Share of the steps until the peak.")
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = Field(default="linear", description="After the peak.")
    max_gradient_norm: float = Field(default=1.0, gt=0, description="Gradients are scaled down to this norm.")


class ComputeSettings(_Settings):
    """How the machine is used. None of it changes what is learnt, beyond rounding."""

    precision: Precision = Field(
        default="float32",
        description="bfloat16: matrix products in bfloat16, weights and optimiser in float32. auto: that where the hardware has "
        "instructions for it.",
    )
    packed: bool | None = Field(
        default=None, description="No padding, the shared opening once a batch. When not given: on CPU yes, on GPU no."
    )
    chunk_examples: int | None = Field(
        default=None,
        ge=1,
        description="Notes of one forward pass on one process. Fewer than its share of the batch: GradCache.",
    )
    cache_frozen_layers: bool = Field(default=False, description="Keep the frozen layers' output of every example in memory.")
    gradient_checkpointing: bool = Field(default=False, description="Compute activations twice instead of keeping them.")
    fsdp: bool = Field(default=False, description="Shard weights, gradients and optimiser over the processes (FSDP2).")
    threads: int | None = Field(default=None, ge=1, description="CPU threads; torch's choice when not given.")


class ValidationSettings(_Settings):
    """Recall on the validation split while training."""

    every_steps: int = Field(default=100, ge=1, description="Steps between measurements.")
    notes: int = Field(default=1000, ge=2, description="Size of the pool: notes of validation pairs first.")
    k: int = Field(default=10, ge=1, description="recall@k decides which checkpoint is the best.")
    patience: int = Field(default=5, ge=1, description="Stop after this many measurements without a better one.")
    keep_best: bool = Field(
        default=True,
        description="The state of the best recall becomes the checkpoint, and patience counts. False: measure only, train to the "
        "end, and keep the last state, for runs that are after hashtags more than after recall.",
    )


class RunSettings(_Settings):
    """What a run leaves behind."""

    log_every_steps: int = Field(default=10, ge=1, description="Steps between lines of log.jsonl.")
    save_every_steps: int = Field(
        default=100, ge=1, description="Steps between resumable checkpoints; with a validation split one is written after each "
        "measurement instead.",
    )  # fmt: skip
    keep: int = Field(default=2, ge=1, description="Resumable checkpoints to keep; the newest and the best are always kept.")
    report_to: tuple[Literal["tensorboard", "wandb"], ...] = Field(default=(), description="Where curves go besides log.jsonl.")


class TrainingConfig(_Settings):
    """One training run."""

    name: ModelName = Field(description="Names the model in answers and in the index.")
    seed: int = Field(default=0, description="Of the batches, the tasks and the adapters.")
    data: DataSettings
    model: ModelSettings
    method: Annotated[LoraSettings | FullSettings, Field(discriminator="kind")] = FullSettings()
    examples: ExampleSettings = ExampleSettings()
    loss: LossSettings = LossSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    compute: ComputeSettings = ComputeSettings()
    validation: ValidationSettings = ValidationSettings()
    run: RunSettings = RunSettings()

    @model_validator(mode="after")
    def _fits_together(self) -> "TrainingConfig":
        if self.compute.cache_frozen_layers:
            if not self.method.frozen_layers:
                raise ValueError("compute.cache_frozen_layers needs method.frozen_layers above 0: there is nothing to keep")
            if isinstance(self.method, LoraSettings) and self.method.train_emb_row:
                raise ValueError(
                    "compute.cache_frozen_layers needs method.train_emb_row: false, since frozen layers read that row"
                )
            if self.compute.packed is False or self.compute.fsdp:
                raise ValueError(
                    "compute.cache_frozen_layers works with packed batches on one device: not with fsdp or padding"
                )
        if isinstance(self.method, LoraSettings) and self.method.dropout and self.compute.chunk_examples:
            raise ValueError(
                "method.dropout and compute.chunk_examples exclude each other: the two passes would drop different units"
            )
        if self.compute.fsdp and self.compute.packed:
            raise ValueError("compute.packed and compute.fsdp exclude each other: choose packed: false")
        return self

    @classmethod
    def load(cls, path: Path, overrides: Sequence[str] = ()) -> "TrainingConfig":
        """Reads a YAML file.

        Args:
            path: the file. Relative paths in it are meant from the working directory.
            overrides: `a.b=value` each, the value in YAML.

        Raises:
            ConfigError: names the field that is wrong.
        """
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise ConfigError(f"{path} cannot be read: {error}") from error
        if not isinstance(content, dict):
            raise ConfigError(f"{path} holds no settings")
        for override in overrides:
            _apply(content, override)
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'settings'}: {one['msg']}" for one in error.errors()[:5])
            raise ConfigError(f"{path}: {problems}") from error

    def save(self, path: Path) -> None:
        """Writes a YAML file that `load` reads back, defaults written out."""
        path.write_text(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True), encoding="utf-8")


def _apply(content: dict[str, Any], override: str) -> None:
    name, separator, value = override.partition("=")
    if not separator:
        raise ConfigError(f"{override!r} is not of the form name.field=value")
    *parents, last = name.split(".")
    place = content
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise ConfigError(f"{name}: {parent} is no section")
    try:
        place[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: {value!r} is no YAML value") from error
