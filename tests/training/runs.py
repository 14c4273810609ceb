"""What the tests of whole runs need: the settings of one, what it wrote, and how to interfere."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState

from notellm import Checkpoint
from training.config import TrainingConfig
from training.loop import NoteTrainer

Config = Callable[..., TrainingConfig]


BEHAVIOUR = {"model__projection": "behaviour", "model__token_vectors": True}


def log(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def losses(directory: Path) -> dict[int, float]:
    return {line["step"]: line["loss"] for line in log(directory) if "loss" in line}


def parameters(directory: Path) -> dict[str, torch.Tensor]:
    model = Checkpoint.open(directory / "checkpoint").load_model()
    return dict(model.named_parameters())


class StopAt(TrainerCallback):
    """Sends this process a signal after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def add_callback(monkeypatch: pytest.MonkeyPatch, callback: TrainerCallback) -> None:
    """Puts a callback into every trainer that is made."""
    made = NoteTrainer.__init__

    def with_callback(trainer: NoteTrainer, *args: Any) -> None:
        made(trainer, *args)
        trainer.add_callback(callback)

    monkeypatch.setattr(NoteTrainer, "__init__", with_callback)
