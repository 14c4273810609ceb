"""What a run leaves on disk when a state cannot be written or read."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training.loop.room import ROOM, LoseRoom, room_again
from tests.training.runs import add_callback, losses
from training.config import TrainingConfig
from training.errors import SaveError
from training.loop.state import latest_state
from training.run import train

Config = Callable[..., TrainingConfig]


@pytest.mark.parametrize("room", [ROOM, 1500], ids=["weights", "trainer state"])
def test_a_disk_without_room_leaves_the_last_state(
    run_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    config = run_config()
    with monkeypatch.context() as patch, room_again():
        add_callback(patch, LoseRoom(3, room))
        with pytest.raises(SaveError, match=r"checkpoint-4 could not be written .*File too large.*continue with --resume"):
            train(config, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run" / "states").iterdir()] == ["checkpoint-2"]
    assert train(config, tmp_path / "run", resume=True) is not None


def test_a_state_that_was_cut_off_is_passed_over(run_config: Config, tmp_path: Path) -> None:
    config = run_config(run__keep=9)
    train(config, tmp_path / "run")
    whole = sorted((tmp_path / "run" / "states").iterdir(), key=lambda path: int(path.name.rpartition("-")[2]))
    newest = whole[-1] / "trainer_state.json"
    newest.write_bytes(newest.read_bytes()[:-100])
    assert latest_state(tmp_path / "run" / "states") == whole[-2]
    before = losses(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoint")
    assert train(config, tmp_path / "run", resume=True) is not None
    assert losses(tmp_path / "run") == pytest.approx(before, rel=1e-6)


def test_a_state_that_cannot_be_read_is_named(run_config: Config, tmp_path: Path) -> None:
    config = run_config()
    train(config, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoint")
    for file in (tmp_path / "run" / "states").rglob("*.distcp"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(SaveError, match=r"states/checkpoint-\d+ cannot be read .*remove it"):
        train(config, tmp_path / "run", resume=True)
