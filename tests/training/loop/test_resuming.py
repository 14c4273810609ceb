"""How a run goes on from what an earlier one has left on disk."""

import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import training.export
from notellm.errors import CheckpointError
from tests.training.loop.room import ROOM, LoseRoom, room_again
from tests.training.runs import add_callback, log
from training.config import TrainingConfig
from training.errors import ConfigError, SaveError
from training.loop.resuming import log_lines
from training.run import train

Config = Callable[..., TrainingConfig]


@pytest.mark.parametrize("room", [ROOM, 1500], ids=["checkpoint", "adapter"])
def test_an_export_that_failed_is_made_up_for(
    run_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """With adapters: the one that was written already does not stand in the way."""
    config = run_config(method={"kind": "lora", "rank": 4})
    real = training.export.export

    def without_room(*args: Any) -> Any:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
        return real(*args)

    with monkeypatch.context() as patch, room_again():
        patch.setattr("training.run.export", without_room)
        with pytest.raises((SaveError, CheckpointError), match="could not be written"):
            train(config, tmp_path / "run")
    before = log(tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoint").exists()
    assert train(config, tmp_path / "run", resume=True) is not None
    assert (tmp_path / "run" / "adapter" / "projection.safetensors").is_file()
    assert log(tmp_path / "run") == before  # nothing was trained again


def test_an_old_adapter_is_noticed_before_hours_of_training(run_config: Config, tmp_path: Path) -> None:
    (tmp_path / "run" / "adapter").mkdir(parents=True)
    (tmp_path / "run" / "adapter" / "facts.json").touch()
    with pytest.raises(CheckpointError, match="adapter: already exists"):
        train(run_config(method={"kind": "lora", "rank": 4}), tmp_path / "run")
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_a_run_that_stopped_early_does_not_go_on(run_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = iter((0.3, 0.2, 0.1, 0.1, 0.1))
    monkeypatch.setattr("training.batches.validation_pool.recall", lambda *_: next(scripted))
    config = run_config(examples__epochs=4, validation__every_steps=2, validation__patience=2)
    train(config, tmp_path / "run")
    before = log(tmp_path / "run")
    assert before[-1]["step"] == 6
    shutil.rmtree(tmp_path / "run" / "checkpoint")
    checkpoint = train(config, tmp_path / "run", resume=True)
    assert checkpoint is not None
    assert checkpoint.manifest.metrics == {"validation_recall@3": 0.3}
    assert max(line["step"] for line in log(tmp_path / "run")) == 6


def test_a_resumed_run_has_the_patience_that_was_left(
    run_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted = iter((0.3, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2))
    monkeypatch.setattr("training.batches.validation_pool.recall", lambda *_: next(scripted))
    config = run_config(examples__epochs=4, validation__every_steps=2, validation__patience=2)
    with monkeypatch.context() as patch, room_again():
        add_callback(patch, LoseRoom(5, ROOM))
        with pytest.raises(SaveError):
            train(config, tmp_path / "run")
    assert train(config, tmp_path / "run", resume=True) is not None
    assert max(line["step"] for line in log(tmp_path / "run")) == 6


def test_a_run_does_not_go_on_with_other_data(run_config: Config, tmp_path: Path) -> None:
    config = run_config()
    train(config, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoint")
    notes = tmp_path / config.data.notes.name
    lines = config.data.notes.read_text(encoding="utf-8").splitlines()
    notes.write_text("\n".join([lines[0].replace("number 0", "number zero"), *lines[1:]]), encoding="utf-8")
    changed = config.model_copy(update={"data": config.data.model_copy(update={"notes": notes})})
    changed.save(tmp_path / "run" / "config.yaml")
    with pytest.raises(ConfigError, match="was started with other data"):
        train(changed, tmp_path / "run", resume=True)


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
