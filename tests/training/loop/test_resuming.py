"""A run that lost its last bytes goes on, and its log is as if nothing had happened."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training.config import TrainingConfig
from training.loop.resuming import log_lines
from training.run import train

Config = Callable[..., TrainingConfig]
# These depend on the speed of the machine.
TIMES = {"train_runtime", "train_samples_per_second", "train_steps_per_second", "validation_runtime"}


def without_times(log: Path) -> list[dict[str, Any]]:
    return [{name: value for name, value in line.items() if name not in TIMES} for line in log_lines(log)]


@pytest.mark.parametrize("damage", [lambda data: data[:-20], lambda data: data[:-20] + b"\x00" * 20], ids=["cut", "zeros"])
def test_a_log_that_was_cut_off(run_config: Config, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    run, config = tmp_path / "run", run_config(run__keep=9)
    assert train(config, run) is not None
    log = run / "log.jsonl"
    whole = without_times(log)
    shutil.rmtree(run / "checkpoint")
    newest = max((run / "states").iterdir(), key=lambda path: int(path.name.rpartition("-")[2]))
    shutil.rmtree(newest)
    log.write_bytes(damage(log.read_bytes()))
    assert train(config, run, resume=True) is not None
    assert [line["step"] for line in without_times(log)] == [line["step"] for line in whole]


def test_lines_that_are_no_lines_of_a_log_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(b'{"step": 1, "loss": 2.0}\n{"loss": 1}\n7\n\xff\xfe\n\n{"step": 2, "lo')
    assert log_lines(tmp_path / "log.jsonl") == [{"step": 1, "loss": 2.0}]
