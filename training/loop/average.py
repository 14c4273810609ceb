"""`WeightAverage`: the mean of the weights over the last steps of a run, which is often better than the weights of any one step."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback, TrainerControl, TrainerState


class WeightAverage(TrainerCallback):
    """Adds the trained weights to their mean after each of the last steps of a run.

    The mean is sharded as the weights are. It takes as much memory as they do, from its first step on.

    Args:
        model: the model; it must already be sharded if it will be.
        steps: number of steps of the run.
        share: share of the steps that count; with 0 there is no mean.
    """

    def __init__(self, model: nn.Module, steps: int, share: float) -> None:
        self._model = model
        # These stay the same objects. `named_parameters` would give whole weights while a sharded model has them gathered.
        self._parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
        self._before = steps - math.ceil(share * steps)
        self.mean: dict[str, Tensor] = {}

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Runs after the optimiser's step and before a measurement."""
        self.add(state.global_step)

    @torch.no_grad()
    def add(self, step: int) -> None:
        """Counts the weights as they are after `step` steps."""
        count = step - self._before
        if count == 1:
            self.mean = {name: value.detach().clone() for name, value in self._parameters.items()}
        elif count > 1:
            for name, value in self._parameters.items():
                _local(self.mean[name]).lerp_(_local(value), 1 / count)

    def to_load(self, step: int) -> dict[str, Tensor]:
        """Tensors to read the mean of a state into; none if the mean had not begun at that step."""
        self.mean = {name: torch.zeros_like(value) for name, value in self._parameters.items()} if step > self._before else {}
        return self.mean

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the mean as its weights, if the mean has begun."""
        self.exchange()
        try:
            yield
        finally:
            self.exchange()

    @torch.no_grad()
    def exchange(self) -> None:
        """Exchanges the weights and their mean, if the mean has begun."""
        for name, mean in self.mean.items():
            weight, other = _local(self._parameters[name]), _local(mean)
            kept = weight.clone()
            weight.copy_(other)
            other.copy_(kept)
        for module in self._model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()  # otherwise it would go on with the weights that it has gathered


def _local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor, in the same memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor.detach()
