"""How a run goes on in a directory that holds its beginning."""

import json
from pathlib import Path
from typing import Any

from transformers import TrainerState
from transformers.trainer_callback import EarlyStoppingCallback

from notellm.saving import refuse_existing
from training.config import TrainingConfig
from training.errors import ConfigError
from training.loop.state import COMPLETE, latest_state, load_state
from training.loop.trainer import NoteTrainer

# The data that a run was begun with, as a fingerprint.
DATA = "data.txt"


def refuse_used(directory: Path) -> None:
    """Makes sure that a new run does not meet an old one.

    Raises:
        ConfigError, CheckpointError: it would.
    """
    if latest_state(directory / "states") is not None:
        raise ConfigError(f"{directory} holds a run already: go on with --resume, or choose another directory")
    refuse_existing(directory / "adapter")


def state_to_resume(config: TrainingConfig, directory: Path) -> Path:
    """The newest whole state of the run.

    Raises:
        ConfigError: there is none, or the run was begun with other settings.
    """
    state = latest_state(directory / "states")
    if state is None:
        raise ConfigError(f"{directory / 'states'} holds no whole checkpoint: start without --resume")
    before = TrainingConfig.load(directory / "config.yaml")
    if before != config:
        changed = [name for name in TrainingConfig.model_fields if getattr(before, name) != getattr(config, name)]
        raise ConfigError(f"{directory} was begun with other settings ({', '.join(changed)}): resume with the same ones")
    return state


def refuse_other_data(directory: Path, fingerprint: str) -> None:
    """Makes sure that the data are those of the run's beginning; with others its batches would be others, too.

    Raises:
        ConfigError: they are not.
    """
    data = directory / DATA
    if data.exists() and data.read_text(encoding="utf-8") != fingerprint:
        raise ConfigError(f"{directory} was begun with other data: bring back the notes and events of then, or begin a new run")


def forget_lines_after(trainer: NoteTrainer, state: Path | None) -> None:
    """A resumed run repeats the steps after its state, and logs them again."""
    if trainer.args.process_index or not trainer.log_path.exists():
        return
    last = int(state.name.rpartition("-")[2]) if state else 0
    lines = trainer.log_path.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if json.loads(line)["step"] <= last] if state else []
    trainer.log_path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def early_stopping(patience: int, state: Path | None) -> EarlyStoppingCallback:
    """Stops a run whose recall does not get better any more; what a resumed one measured before counts."""
    stopping = EarlyStoppingCallback(patience)
    stopping.early_stopping_patience_counter = _measured_since_best(_saved(state)) if state else 0
    return stopping


def take_over_if_finished(trainer: NoteTrainer, state: Path) -> bool:
    """Whether the run was trained to its end and only its checkpoint is missing; then its weights are what they were."""
    saved, keeps_best = _saved(state), trainer.args.load_best_model_at_end
    stopped_early = keeps_best and _measured_since_best(saved) >= trainer.config.validation.patience
    if saved.global_step < trainer.args.max_steps and not stopped_early:
        return False
    trainer.state = saved
    load_state(Path(saved.best_model_checkpoint) if keeps_best and saved.best_model_checkpoint else state, trainer.model)
    return True


def recalls(history: list[dict[str, Any]]) -> list[float]:
    """Recall on the validation pool, whenever it was measured."""
    return [line[name] for line in history for name in line if name.startswith("eval_recall@")]


def _saved(state: Path) -> TrainerState:
    saved: TrainerState = TrainerState.load_from_json(str(state / COMPLETE))
    return saved


def _measured_since_best(saved: TrainerState) -> int:
    measured = recalls(saved.log_history)
    return len(measured) - 1 - measured.index(max(measured)) if measured else 0
