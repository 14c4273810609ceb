"""How a run is resumed in the directory where it was started."""

import json
from pathlib import Path
from typing import Any

from transformers import TrainerState
from transformers.trainer_callback import EarlyStoppingCallback

from notellm.saving import refuse_existing
from training.config import TrainingConfig
from training.errors import ConfigError
from training.loop.state import COMPLETE, latest_state, step_of
from training.loop.trainer import NoteTrainer
from training.whole_files import write_whole

# File with the fingerprint of the data that a run was started with.
DATA = "data.txt"


def refuse_used(directory: Path) -> None:
    """Makes sure that a new run does not start in the directory of another run.

    Raises:
        ConfigError: the directory has resumable checkpoints of a run.
        CheckpointError: it has an adapter of a run.
    """
    if latest_state(directory / "states") is not None:
        raise ConfigError(f"{directory} already contains a run: continue it with --resume, or choose another directory")
    refuse_existing(directory / "adapter")


def state_to_resume(config: TrainingConfig, directory: Path) -> Path:
    """The newest complete state of the run.

    Raises:
        ConfigError: there is none, or the run was started with other settings.
    """
    state = latest_state(directory / "states")
    if state is None:
        raise ConfigError(f"{directory / 'states'} has no complete checkpoint: start without --resume")
    before = TrainingConfig.load(directory / "config.yaml")
    if before != config:
        changed = [name for name in TrainingConfig.model_fields if getattr(before, name) != getattr(config, name)]
        raise ConfigError(f"{directory} was started with other settings ({', '.join(changed)}): resume with the same settings")
    return state


def refuse_other_data(directory: Path, fingerprint: str) -> None:
    """Makes sure that the data have not changed since the run was started, because its batches would change too.

    Raises:
        ConfigError: the data have changed.
    """
    data = directory / DATA
    if data.exists() and data.read_text(encoding="utf-8") != fingerprint:
        raise ConfigError(f"{directory} was started with other data: restore those notes and events, or start a new run")


def forget_lines_after(trainer: NoteTrainer, state: Path | None) -> None:
    """Removes log lines of steps after the state, because a resumed run repeats these steps and logs them again.

    A line that cannot be read is removed, too: the run was killed while it was written.
    """
    if trainer.args.process_index or not trainer.log_path.exists():
        return
    last = step_of(state) if state else 0
    kept = [json.dumps(line) for line in log_lines(trainer.log_path) if line["step"] <= last] if state else []
    write_whole(trainer.log_path, "".join(f"{line}\n" for line in kept))


def log_lines(log: Path) -> list[dict[str, Any]]:
    """The lines of a run's log.jsonl, without lines that were cut off when the run was killed."""
    lines = []
    for text in log.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            lines.append(line)
    return lines


def early_stopping(patience: int, state: Path | None) -> EarlyStoppingCallback:
    """Stops a run whose recall no longer improves. In a resumed run, earlier measurements count too."""
    stopping = EarlyStoppingCallback(patience)
    stopping.early_stopping_patience_counter = _measured_since_best(_saved(state)) if state else 0
    return stopping


def take_over_if_finished(trainer: NoteTrainer, state: Path) -> bool:
    """Whether training had already ended and only the checkpoint is missing; if so, loads the trained weights."""
    saved, keeps_best = _saved(state), trainer.args.load_best_model_at_end
    stopped_early = keeps_best and _measured_since_best(saved) >= trainer.config.validation.patience
    if saved.global_step < trainer.args.max_steps and not stopped_early:
        return False
    trainer.state = saved
    trainer.load(Path(saved.best_model_checkpoint) if keeps_best and saved.best_model_checkpoint else state)
    return True


def recalls(history: list[dict[str, Any]]) -> list[float]:
    """All measurements of recall on the validation pool, in order."""
    return [line[name] for line in history for name in line if name.startswith("eval_recall@")]


def _saved(state: Path) -> TrainerState:
    saved: TrainerState = TrainerState.load_from_json(str(state / COMPLETE))
    return saved


def _measured_since_best(saved: TrainerState) -> int:
    measured = recalls(saved.log_history)
    return len(measured) - 1 - measured.index(max(measured)) if measured else 0
