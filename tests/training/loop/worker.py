"""One process of a data-parallel run: `train` as the command line calls it, with its gradients written down.

torchrun --nproc-per-node 2 -m tests.training.loop.worker CONFIG OUTPUT [--resume] [--own-mean] [--own-rows]
"""

import os
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback, TrainerControl, TrainerState

import training.loop.trainer
import training.run
from training.batches import Contrast, Contrasts
from training.batches.examples import GlobalBatch
from training.config import TrainingConfig
from training.errors import TrainingError
from training.loop.trainer import NoteTrainer
from training.model import CachedGradients, losses


class Capture(TrainerCallback):
    """Gradients of the first step as the optimiser sees them, before they are clipped."""

    def __init__(self) -> None:
        self.gradients: dict[str, torch.Tensor] = {}
        self.sharded: set[str] = set()
        self.inputs: dict[str, set[str]] = defaultdict(set)

    def on_train_begin(
        self, args: Any, state: TrainerState, control: TrainerControl, model: nn.Module | None = None, **_: Any
    ) -> None:
        assert model is not None
        model.register_forward_pre_hook(self._see, with_kwargs=True)  # after that of FSDP, which casts

    def _see(self, model: nn.Module, args: Any, given: dict[str, Any]) -> None:
        for name, value in given.items():
            tensor = value.embeddings if isinstance(value, CachedGradients) else value
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
                self.inputs[name].add(str(tensor.dtype).removeprefix("torch."))

    def on_pre_optimizer_step(
        self, args: Any, state: TrainerState, control: TrainerControl, model: nn.Module | None = None, **_: Any
    ) -> None:
        if state.global_step or model is None:
            return
        for name, parameter in model.named_parameters():
            if isinstance(parameter, DTensor):
                self.sharded.add(name)
            if parameter.grad is not None:
                self.gradients[name] = whole(parameter.grad).clone()


def whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


of_batch = Contrasts.__call__


def with_own_rows(contrasts: Contrasts, batch: GlobalBatch, rank: int, ranks: int, remembered: Sequence[str] = ()) -> Contrast:
    contrast = of_batch(contrasts, batch, rank, ranks, remembered)
    return replace(contrast, rows=contrast.targets.any(dim=1).sum() * ranks)


def main(config: str, output: str, *options: str) -> None:
    capture = Capture()
    make_trainer = training.run.make_trainer

    def with_capture(*args: Any) -> NoteTrainer:
        trainer = make_trainer(*args)
        trainer.add_callback(capture)
        return trainer

    training.run.make_trainer = with_capture  # type: ignore[assignment]
    if "--own-mean" in options:  # the mistake that normalising by the global count avoids
        training.loop.trainer.global_count = lambda count, device: torch.tensor(  # type: ignore[attr-defined]
            float(count * losses.world_size()), device=device
        )
    if "--own-rows" in options:  # the same mistake in the contrastive loss
        Contrasts.__call__ = with_own_rows  # type: ignore[assignment, method-assign]
    checkpoint = training.run.train(TrainingConfig.load(Path(config)), Path(output), resume="--resume" in options)
    if int(os.environ.get("RANK", "0")) == 0:
        torch.save(
            {"gradients": capture.gradients, "sharded": capture.sharded, "inputs": dict(capture.inputs)},
            Path(output) / "capture.pt",
        )
        assert checkpoint is not None
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except TrainingError as error:
        sys.exit(f"worker: {error}")
    # gloo's threads may outlive the group and abort the interpreter while it ends.
    sys.stdout.flush()
    os._exit(0)
