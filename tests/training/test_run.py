"""Whole runs of a tiny model: what they leave behind, how they stop, and how they go on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from notellm import Checkpoint
from training.config import TrainingConfig
from training.run import train

Config = Callable[..., TrainingConfig]


def log(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def losses(directory: Path) -> dict[int, float]:
    return {line["step"]: line["loss"] for line in log(directory) if "loss" in line}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"method": {"kind": "lora", "rank": 4}},
        {"method": {"kind": "full", "frozen_layers": 1}, "compute__cache_frozen_layers": True},
        {"compute__chunk_examples": 6},
        {"compute__packed": False, "compute__gradient_checkpointing": True},
        {"loss__alpha": 0},
        {"loss__contrastive": False, "optimizer__learning_rate": 5e-3},
        {"model__projection": "principal", "model__projection_notes": 40},
    ],
    ids=["full", "lora", "frozen", "gradcache", "padded", "gcl-only", "csft-only", "principal"],
)
def test_a_run_learns_and_leaves_a_checkpoint(run_config: Config, tmp_path: Path, changes: dict[str, Any]) -> None:
    checkpoint = train(run_config(examples__epochs=3, **changes), tmp_path / "run")
    assert checkpoint is not None
    reopened = Checkpoint.open(tmp_path / "run" / "checkpoint")
    assert reopened.manifest.dimensions == 16
    curve = list(losses(tmp_path / "run").values())
    assert sum(curve[-3:]) < sum(curve[:3])
