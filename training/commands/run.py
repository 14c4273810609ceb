"""`notellm-train train` and `merge`: train a model, and merge an adapter into its base model."""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import torch.distributed as dist
import typer

from notellm.checkpoint import Checkpoint
from training.config import TrainingConfig
from training.export import merge_adapter
from training.run import train as run_training


def train(
    config: Annotated[Path, typer.Argument(help="YAML file of a `TrainingConfig`; training/configs has examples.")],
    output: Annotated[Path, typer.Argument(help="Directory of the run: log, resumable checkpoints, and the checkpoint.")],
    override: Annotated[
        list[str] | None, typer.Option("--set", help="A setting, `examples.epochs=2`; repeat the option.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Continue from the last complete checkpoint in the directory.")] = False,
) -> None:
    """Trains and writes a checkpoint. On SIGTERM it finishes the step and saves a checkpoint to resume from."""
    logging.getLogger("training").setLevel(logging.INFO)
    checkpoint = run_training(TrainingConfig.load(config, override or ()), output, resume=resume)
    if int(os.environ.get("RANK", "0")) == 0:  # only the first process prints
        typer.echo(_outcome(checkpoint, output))
    if dist.is_initialized():
        _exit_together()


def _outcome(checkpoint: Checkpoint | None, output: Path) -> str:
    if checkpoint is None:
        return f"{output}: stopped; continue with --resume"
    metrics = "".join(f", {name} {value:.3f}" for name, value in checkpoint.manifest.metrics.items())
    return f"{checkpoint.path}: {checkpoint.manifest.name}, {checkpoint.manifest.dimensions} dimensions{metrics}"


def _exit_together() -> None:
    """Waits until all processes are done, then exits: if one exits early, torchrun ends the others."""
    dist.barrier()
    dist.destroy_process_group()
    sys.stdout.flush()
    os._exit(0)  # threads of the process group may still run, and would abort the interpreter during a normal exit


def merge(
    base: Annotated[str, typer.Option(help="The run's base model: a Hugging Face directory, a hub id, or a .gguf file.")],
    adapter: Annotated[Path, typer.Option(help="The run's adapter directory.")],
    output: Annotated[Path, typer.Argument(help="Directory to write the checkpoint to.")],
) -> None:
    """Makes a checkpoint from a base model and a run's adapter."""
    checkpoint = merge_adapter(base, adapter, output)
    typer.echo(f"{checkpoint.path}: {checkpoint.manifest.name}, {checkpoint.manifest.dimensions} dimensions")
