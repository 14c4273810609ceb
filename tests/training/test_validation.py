"""What a run is measured on, where there are few validation notes."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from training.config import TrainingConfig
from training.data import load_dataset
from training.errors import ConfigError
from training.run import train
from training.validation import validation_pool

Config = Callable[..., TrainingConfig]


def test_for_few_validation_notes_the_default_k_is_lowered(run_config: Config, tmp_path: Path) -> None:
    """And the run can be resumed."""
    config, run = run_config(validation={"every_steps": 2, "notes": 20}), tmp_path / "run"
    for resume in (False, True):
        checkpoint = train(config, run, resume=resume)
        assert checkpoint is not None
        assert set(checkpoint.manifest.metrics) == {"validation_recall@1"}
        shutil.rmtree(run / "checkpoint")


@pytest.mark.parametrize(("k", "message"), [(1, "a pool of 2 validation notes tells nothing"), (6, "lower validation.k")])
def test_a_recall_that_is_always_1_is_refused(k: int, message: str, run_config: Config) -> None:
    config = run_config(validation={"notes": 2 if k == 1 else 20, "k": k})
    with pytest.raises(ConfigError, match=message):
        validation_pool(config, load_dataset(config.data))
