"""The stock trainer is told what the machine is."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from training.config import TrainingConfig
from training.loop.arguments import training_arguments, use_one_gpu

Config = Callable[..., TrainingConfig]


def test_one_gpu_is_used_and_the_way_to_all_is_named(
    run_config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With several, the stock trainer would wrap the model in `DataParallel`, which cannot split packed batches."""
    arguments = training_arguments(run_config(), 8, tmp_path, validate=True)
    arguments._n_gpu = 4
    with caplog.at_level(logging.WARNING):
        use_one_gpu(arguments)
    assert arguments.n_gpu == 1
    assert arguments.train_batch_size == 1
    assert "4 GPUs are visible and one is used: to use all, start deploy/training/torchrun.sh CONFIG OUTPUT" in caplog.text


def test_one_gpu_or_none_is_no_warning(run_config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert training_arguments(run_config(), 8, tmp_path, validate=True).n_gpu <= 1
    assert "visible" not in caplog.text


def test_processes_wait_for_each_other_as_long_as_the_setting_says(run_config: Config, tmp_path: Path) -> None:
    assert training_arguments(run_config(), 8, tmp_path, validate=True).ddp_timeout == 7200
    assert training_arguments(run_config(compute__timeout_minutes=0.5), 8, tmp_path, validate=True).ddp_timeout == 30
