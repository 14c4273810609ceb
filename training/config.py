"""`TrainingConfig`: all settings of a run, from a YAML file and command-line overrides.

The settings of the data and of the batches stand beside their code; all others are here. docs/training.md explains how to choose
them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from notellm.checkpoint import ModelName
from notellm.prompt import PromptSettings
from training.batches import ExampleSettings
from training.data import DataSettings, PairKind
from training.errors import ConfigError
from training.loss_settings import LossSettings
from training.precision import Precision
from training.whole_files import write_whole


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelSettings(_Settings):
    """The model that training starts from."""

    base: str = Field(
        description="LLaMA-family model: a Hugging Face directory, a hub id, a .gguf file, or `package:NAME/FILE`, a file in an "
        "installed Python package."
    )
    dimensions: int = Field(default=128, ge=1, description="d: length of the embedding (paper: 128).")
    projection: Literal["random", "principal", "behaviour"] = Field(
        default="random",
        description="How the projection starts: with `random` directions; with the `principal` directions of the hidden states of a "
        "sample of training notes, without their mean direction; or with the directions in which co-occurring notes agree "
        "(`behaviour`, in closed form).",
    )
    projection_notes: int | None = Field(
        default=None,
        ge=2,
        description="Training notes that it starts from; by default 256 for `principal`, all for `behaviour` (most related first).",
    )
    token_vectors: bool = Field(
        default=False,
        description="Add to the projected state a learnt vector for each of the note's own tokens. Needs `projection: behaviour`.",
    )
    refit_projection: bool = Field(
        default=False,
        description="After training, solve for them again, with the final states. The better ones on validation notes are kept.",
    )
    prompt: PromptSettings = PromptSettings()

    @model_validator(mode="after")
    def _has_a_start(self) -> "ModelSettings":
        if self.token_vectors and self.projection != "behaviour":
            raise ValueError("token_vectors needs projection: behaviour, which gives them their start")
        return self


class LoraSettings(_Settings):
    """Train low-rank adapters, the projection and the row of `[EMB]`."""

    kind: Literal["lora"] = "lora"
    rank: int = Field(default=16, ge=1, description="Rank of the adapters.")
    alpha: float = Field(default=32, gt=0, description="The adapters' outputs are scaled by alpha / rank.")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout before an adapter.")
    modules: tuple[str, ...] = Field(
        default=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        min_length=1,
        description="Linear layers that get an adapter.",
    )
    frozen_layers: int = Field(default=0, ge=0, description="Number of lowest layers without adapters.")
    train_emb_row: bool = Field(default=True, description="Train the row of `[EMB]` in the embedding table.")


class FullSettings(_Settings):
    """Train all weights, or only those above the frozen layers."""

    kind: Literal["full"] = "full"
    frozen_layers: int = Field(
        default=0,
        ge=0,
        description="Number of lowest layers that are not trained. If above 0, the embedding table is not trained either.",
    )


class OptimizerSettings(_Settings):
    """AdamW with warm-up."""

    learning_rate: float = Field(
        default=3e-6, gt=0, description="Peak learning rate (the paper's code: 3e-6, full fine-tuning)."
    )
    head_learning_rate: float | None = Field(
        default=None,
        gt=0,
        description="Peak learning rate of the projection, the token vectors and τ; by default `learning_rate`.",
    )
    weight_decay: float = Field(default=1e-3, ge=0, description="Not applied to norms, biases and τ.")
    warmup_share: float = Field(default=0.1, ge=0, lt=1, description="Share of the steps before the peak.")
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = Field(
        default="linear", description="How the learning rate changes after the peak."
    )
    max_gradient_norm: float = Field(default=1.0, gt=0, description="Gradients with a larger norm are scaled down to it.")
    average_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="The checkpoint is the mean of the weights after each step of this last share of the run, for example 0.25; 0: the "
        "weights after the last step. Needs `validation.keep_best: false`.",
    )


class ComputeSettings(_Settings):
    """How the machine is used. These settings change what is learnt only by rounding."""

    precision: Precision = Field(
        default="float32",
        description="bfloat16: matrix products in bfloat16, weights and optimiser in float32. auto: bfloat16 if the hardware has "
        "instructions for it, else float32.",
    )
    packed: bool | None = Field(
        default=None,
        description="Pack examples without padding and compute their shared opening once per batch. By default on CPUs only.",
    )
    chunk_examples: int | None = Field(
        default=None,
        ge=1,
        description="Notes per forward pass of one process. If fewer than its share of the batch, GradCache is used.",
    )
    cache_frozen_layers: bool = Field(
        default=False, description="Keep the output of the frozen layers in memory, for every example."
    )
    gradient_checkpointing: bool = Field(default=False, description="Compute activations twice instead of keeping them.")
    fsdp: bool = Field(default=False, description="Shard weights, gradients and optimiser over the processes (FSDP2).")
    threads: int | None = Field(default=None, ge=1, description="CPU threads; by default torch's choice.")
    timeout_minutes: float = Field(
        default=120,
        gt=0,
        description="How long a process of a distributed run waits for the others, for example while the first one loads or writes a "
        "large checkpoint. NCCL's own limit of ten minutes is too short for that.",
    )


class ValidationSettings(_Settings):
    """Recall on the validation split during training."""

    every_steps: int = Field(default=100, ge=1, description="Steps between measurements.")
    notes: int = Field(default=1000, ge=2, description="Size of the pool, filled first with notes of validation pairs.")
    pairs: PairKind = Field(
        default="related",
        description="Recall is over the `related` pairs, or over all `cooccurrences`, in both directions. These are more, so that the "
        "standard error is smaller.",
    )
    k: int = Field(
        default=10,
        ge=1,
        description="recall@k decides which checkpoint is the best. k must be smaller than the pool; the default is lowered if it is not.",
    )
    patience: int = Field(default=5, ge=1, description="Stop after this many measurements without improvement.")
    keep_best: bool = Field(
        default=True,
        description="The state with the best recall becomes the checkpoint, and `patience` can stop the run. False: only measure, "
        "train to the end and keep the last state, for runs where hashtags matter more than recall.",
    )
    hashtag_notes: int = Field(
        default=400,
        ge=0,
        description="How many validation notes the trained model suggests hashtags for, to learn how much its own opinion and the hashtags "
        "of stored notes count (at least 30; otherwise the checkpoint does not say, and the service asks only the model).",
    )


class RunSettings(_Settings):
    """What a run writes."""

    log_every_steps: int = Field(default=10, ge=1, description="Steps between lines of log.jsonl.")
    save_every_steps: int = Field(
        default=100, ge=1, description="Steps between resumable checkpoints. With a validation split, one is written after each "
        "measurement instead.",
    )  # fmt: skip
    keep: int = Field(
        default=2, ge=1, description="Number of resumable checkpoints to keep; the newest and the best are always kept."
    )
    report_to: tuple[Literal["tensorboard", "wandb"], ...] = Field(
        default=(), description="Where to write training curves in addition to log.jsonl."
    )


class TrainingConfig(_Settings):
    """One training run."""

    name: ModelName = Field(description="Names the model in answers and in the index.")
    seed: int = Field(default=0, description="Seed of the batches, the tasks and the adapters.")
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
    def _remembers_a_batch(self) -> "TrainingConfig":
        notes = 2 * self.examples.pairs_per_batch
        if 0 < self.loss.memory < notes:
            raise ValueError(f"loss.memory {self.loss.memory} does not hold the {notes} notes of one batch")
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> "TrainingConfig":
        if self.compute.cache_frozen_layers:
            if not self.method.frozen_layers:
                raise ValueError("compute.cache_frozen_layers needs method.frozen_layers above 0: there is nothing to cache")
            if isinstance(self.method, LoraSettings) and self.method.train_emb_row:
                raise ValueError(
                    "compute.cache_frozen_layers needs method.train_emb_row: false, because frozen layers read that row"
                )
            if self.compute.packed is False or self.compute.fsdp:
                raise ValueError(
                    "compute.cache_frozen_layers needs packed batches on one device: remove packed: false and fsdp: true"
                )
        if isinstance(self.method, LoraSettings) and self.method.dropout and self.compute.chunk_examples:
            raise ValueError(
                "method.dropout and compute.chunk_examples exclude each other: the two passes would drop different units"
            )
        if self.optimizer.average_share and self.validation.keep_best:
            raise ValueError(
                "optimizer.average_share and validation.keep_best exclude each other: set validation.keep_best: false, and the "
                "average becomes the checkpoint"
            )
        if self.compute.fsdp and self.compute.packed:
            raise ValueError("compute.packed and compute.fsdp exclude each other: set packed: false")
        return self

    @classmethod
    def load(cls, path: Path, overrides: Sequence[str] = ()) -> "TrainingConfig":
        """Reads a YAML file.

        Args:
            path: the file. Relative paths in it start from the working directory.
            overrides: settings as `a.b=value`, the value in YAML.

        Raises:
            ConfigError: a field is wrong; the message names it.
        """
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise ConfigError(f"{path} cannot be read: {error}") from error
        if not isinstance(content, dict):
            raise ConfigError(f"{path} contains no settings")
        for override in overrides:
            _apply(content, override)
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'settings'}: {one['msg']}" for one in error.errors()[:5])
            raise ConfigError(f"{path}: {problems}") from error

    def save(self, path: Path) -> None:
        """Writes a YAML file that `load` can read, including all defaults."""
        write_whole(path, yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True))


def _apply(content: dict[str, Any], override: str) -> None:
    name, separator, value = override.partition("=")
    if not separator:
        raise ConfigError(f"{override!r} must have the form name.field=value")
    *parents, last = name.split(".")
    place = content
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise ConfigError(f"{name}: {parent} is not a section")
    try:
        place[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: {value!r} is not a YAML value") from error
