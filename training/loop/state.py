"""Resumable checkpoints: trained weights, optimiser and schedule, sharded or not, saved by torch's distributed checkpointing."""

import json
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.optim import Optimizer

from training.errors import SaveError

STATE, COMPLETE = "state", "trainer_state.json"
_OPTIONS = StateDictOptions(ignore_frozen_params=True, strict=False)


class Kept(NamedTuple):
    """Tensors of a run beside its weights. They are read into the same tensors.

    Attributes:
        mean: `WeightAverage.mean`; empty before it has begun.
        memory: `VectorMemory.vectors`, without rows if there is no memory.
    """

    mean: dict[str, Tensor]
    memory: Tensor

    def state(self) -> dict[str, Any]:
        """What of them is in a state."""
        mean = {"mean": self.mean} if self.mean else {}
        return mean | ({"memory": self.memory} if len(self.memory) else {})


def save_state(directory: Path, model: nn.Module, optimizer: Any, scheduler: Any, kept: Kept) -> None:
    """Writes `directory/state`. All processes must call it.

    Args:
        directory: of the resumable checkpoint.
        model: what is trained.
        optimizer: its state is sharded as the model is.
        scheduler: of the learning rate.
        kept: what else the run needs to go on.
    """
    state = {"model": get_model_state_dict(model, options=_OPTIONS), "schedule": scheduler.state_dict()}
    state["optimizer"] = get_optimizer_state_dict(model, _inner(optimizer), options=_OPTIONS)
    state |= kept.state()
    with _one_process_is_fine():
        state_dict_saver.save(state, checkpoint_id=directory / STATE, no_dist=not dist.is_initialized())


@contextmanager
def saving(directory: Path) -> Iterator[None]:
    """Wraps the code that writes a resumable checkpoint: if any part cannot be written, the whole directory is removed.

    Raises:
        SaveError: a part could not be written; the message gives the reason, for example a full disk.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        yield
    except (Exception, CheckpointException) as error:  # CheckpointException is not an `Exception`; it wraps file system errors
        shutil.rmtree(directory, ignore_errors=True)
        raise SaveError(
            f"{directory} could not be written ({_reason(error)}): free disk space and continue with --resume"
        ) from error


def _reason(error: BaseException) -> str:
    failures = getattr(error, "failures", None)
    return str(next(iter(failures.values()))[0]) if failures else str(error)


def load_state(
    directory: Path, model: nn.Module, optimizer: Any = None, scheduler: Any = None, kept: Kept | None = None
) -> None:
    """Loads what `save_state` wrote into the model and, if given, into the optimiser and the schedule, and into what is kept.

    Raises:
        SaveError: the state cannot be read.
    """
    state: dict[str, Any] = {"model": get_model_state_dict(model, options=_OPTIONS)}
    if kept is not None:
        state |= kept.state()
    if optimizer is not None:
        state["optimizer"] = get_optimizer_state_dict(model, _inner(optimizer), options=_OPTIONS)
        state["schedule"] = scheduler.state_dict()
    try:
        with _one_process_is_fine():
            state_dict_loader.load(state, checkpoint_id=directory / STATE, no_dist=not dist.is_initialized())
    except (Exception, CheckpointException) as error:
        raise SaveError(
            f"{directory} cannot be read ({_reason(error)}): remove it to continue from the checkpoint before it"
        ) from error
    set_model_state_dict(model, state["model"], options=_OPTIONS)
    if optimizer is not None:
        set_optimizer_state_dict(model, _inner(optimizer), state["optimizer"], options=_OPTIONS)
        scheduler.load_state_dict(state["schedule"])


def step_of(directory: Path) -> int:
    """The step after which a resumable checkpoint was saved."""
    return int(directory.name.rpartition("-")[2])


def latest_state(directory: Path) -> Path | None:
    """The newest complete checkpoint, or None."""
    complete = [path for path in directory.glob("checkpoint-*") if _is_complete(path)]
    return max(complete, key=step_of, default=None)


def _is_complete(path: Path) -> bool:
    """Whether the file that is written last is complete."""
    try:
        return isinstance(json.loads((path / COMPLETE).read_text(encoding="utf-8")), dict)
    except (OSError, ValueError):
        return False


@contextmanager
def _one_process_is_fine() -> Iterator[None]:
    """Suppresses the library's warning that nothing is distributed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


def _inner(optimizer: Any) -> Optimizer:
    """The torch optimiser inside accelerate's wrapper."""
    inner: Optimizer = getattr(optimizer, "optimizer", optimizer)
    return inner
