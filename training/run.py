"""One training run, from settings to a checkpoint directory.

A run directory contains `config.yaml`, `log.jsonl` and resumable checkpoints under `states/`, and at the end `checkpoint/` and, for
LoRA, `adapter/`. With `resume`, the run continues from the last complete checkpoint.
"""

import logging
import os
import signal
import subprocess
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from notellm.checkpoint import Checkpoint
from notellm.model import NoteLLM
from notellm.note import Note
from notellm.saving import CheckpointFacts, refuse_existing
from notellm.vocabulary import categories_of, hashtags_by_frequency
from training.batches import BatchPlan, Collator, Contrasts, MemoryPlan, Teacher, ValidationPool
from training.config import TrainingConfig
from training.data import Dataset, load_dataset
from training.errors import ConfigError
from training.export import export
from training.loop import (
    DATA,
    NoteTrainer,
    PlannedBatches,
    early_stopping,
    forget_lines_after,
    recalls,
    refuse_other_data,
    refuse_used,
    state_to_resume,
    take_over_if_finished,
)
from training.model import EMB_TOKEN, Built, base_name, build, merged, refit, shard
from training.precision import on_this_machine
from training.validation import validation_pool, with_fitting_k
from training.weighing import hashtag_evidence
from training.whole_files import write_whole

logger = logging.getLogger(__name__)


class StopOnSignal(TrainerCallback):
    """On SIGTERM and SIGINT, finishes the current step, saves a resumable checkpoint and ends the run."""

    def __init__(self) -> None:
        self.requested = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._request)

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> TrainerControl:
        """All processes stop if one of them received a signal."""
        requested = torch.tensor(float(self.requested), device=args.device)
        if dist.is_initialized():
            dist.all_reduce(requested)
        if requested:
            self.requested = True
            control.should_save = control.should_training_stop = True
        return control


def train(config: TrainingConfig, directory: Path, *, resume: bool = False) -> Checkpoint | None:
    """Trains, measures recall on the validation notes, and writes the checkpoint.

    Args:
        config: settings of the run.
        directory: where the run writes all of its files.
        resume: continue from the last complete checkpoint in the directory.

    Returns:
        The checkpoint; None if a signal stopped the run before its end, and on all processes except the first.

    Raises:
        ConfigError: a setting does not match another one, the machine, or what is in the directory.
        DataError: the data contain nothing to learn from.
        NonFiniteLossError: the loss or a gradient is not a finite number.
        SaveError: a resumable checkpoint could not be written or read.
        CheckpointError: the checkpoint could not be written.
    """
    config = _with_resolved_precision(config)
    if config.compute.threads:
        torch.set_num_threads(config.compute.threads)
    PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(minutes=config.compute.timeout_minutes))
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if config.examples.pairs_per_batch % ranks:
        raise ConfigError(
            f"examples.pairs_per_batch {config.examples.pairs_per_batch} is not a multiple of the {ranks} processes"
        )
    refuse_existing(directory / "checkpoint")
    if not resume:
        refuse_used(directory)
    dataset = load_dataset(config.data)
    _report_dropped(dataset)
    config = with_fitting_k(config, dataset)
    state = state_to_resume(config, directory) if resume else None
    if state:
        refuse_other_data(directory, dataset.fingerprint)
    planned = plan(
        config, dataset
    )  # before the model, whose start may take minutes: settings that do not fit are refused at once
    built = build(config, dataset, fitted=state is None)
    trainer = make_trainer(config, dataset, built, directory, planned)
    forget_lines_after(trainer, state)
    stop = StopOnSignal()
    trainer.add_callback(stop)
    if trainer.args.load_best_model_at_end:
        trainer.add_callback(early_stopping(config.validation.patience, state))
    revision = git_revision()  # now, because training takes hours and the working tree may change meanwhile
    if not (state and take_over_if_finished(trainer, state)):
        trainer.train(resume_from_checkpoint=str(state) if state else None)
    return None if stop.requested else _finish(config, dataset, built, trainer, directory, revision)


def _finish(
    config: TrainingConfig, dataset: Dataset, built: Built, trainer: NoteTrainer, directory: Path, revision: str | None
) -> Checkpoint | None:
    """Writes the checkpoint on the first process; None on the others."""
    trainer.average.exchange()
    unsharded = _unsharded(config, dataset, built, trainer)
    try:
        if unsharded is None:
            return None
        if config.model.refit_projection:
            refit(config, dataset, unsharded)
        trained = unsharded.model.note_llm
        model = NoteLLM(merged(unsharded), trained.projection, trained.tokens)
        evidence = hashtag_evidence(config, dataset, model, unsharded.prompt)
        stated = facts(config, dataset, _metrics(trainer)).model_copy(update={"hashtag_evidence": evidence})
        return export(unsharded, stated, directory, record(config, revision))
    finally:
        PartialState().wait_for_everyone()  # a process that ends while the first one still writes could end the job


def _report_dropped(dataset: Dataset) -> None:
    for file, reasons in dataset.dropped.items():
        for reason, count in reasons.items():
            logger.warning("%s: dropped %d rows: %s", file, count, reason)


def _with_resolved_precision(config: TrainingConfig) -> TrainingConfig:
    """Replaces `auto` by this machine's precision, so that the run records its precision and keeps it when it is resumed."""
    compute = config.compute.model_copy(update={"precision": on_this_machine(config.compute.precision)})
    return config.model_copy(update={"compute": compute})


def _metrics(trainer: NoteTrainer) -> dict[str, float]:
    """Recall on the validation pool of the state that is kept: the best one, or the last one that was measured."""
    measured = recalls(trainer.state.log_history)
    if not measured:
        return {}
    kept = max(measured) if trainer.args.load_best_model_at_end else measured[-1]
    return {f"validation_recall@{trainer.config.validation.k}": kept}


def _unsharded(config: TrainingConfig, dataset: Dataset, built: Built, trainer: NoteTrainer) -> Built | None:
    """The trained model with all its weights on the first process; None on the others."""
    if not config.compute.fsdp:
        return built if trainer.args.process_index == 0 else None
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights = get_model_state_dict(trainer.model, options=options)
    if trainer.args.process_index:
        return None
    unsharded = build(config, dataset, fitted=False)
    unsharded.model.load_state_dict(weights)
    return unsharded


def record(config: TrainingConfig, revision: str | None) -> dict[str, Any]:
    """What a checkpoint records about its run."""
    return {"code_revision": revision, "config": config.model_dump(mode="json", exclude={"data": {"notes", "events"}})}


@dataclass(frozen=True)
class Planned:
    """What a run will train on and be measured on."""

    batches: BatchPlan
    pool: ValidationPool | None


def plan(config: TrainingConfig, dataset: Dataset) -> Planned:
    """Plans the batches and chooses the validation pool.

    Raises:
        DataError: there are not enough pairs for one batch.
        ConfigError: `validation.k` finds the whole pool.
    """
    pairs = dataset.pairs_of("train", config.examples.pairs)
    return Planned(BatchPlan(pairs, dataset.notes, config.examples, config.seed), validation_pool(config, dataset))


def make_trainer(
    config: TrainingConfig, dataset: Dataset, built: Built, directory: Path, planned: Planned | None = None
) -> NoteTrainer:
    """The trainer of a run. It also shards the model if `compute.fsdp` is set."""
    planned = planned or plan(config, dataset)
    ranks, loss = int(os.environ.get("WORLD_SIZE", "1")), config.loss
    memory = MemoryPlan(planned.batches, ranks=ranks, size=loss.memory, hashtag_prompts=loss.contrast_hashtag_prompts)
    collator = Collator(
        dataset.notes, built.prompt, _contrasts(config, dataset),
        rank=int(os.environ.get("RANK", "0")), ranks=ranks, packed=built.packed, memory=memory,
        chunk_examples=config.compute.chunk_examples, pad_id=int(built.tokenizer.pad_token_id),
        terms=built.model.note_llm.tokens.terms if built.model.note_llm.tokens is not None else None,
    )  # fmt: skip
    if PartialState().is_main_process:
        directory.mkdir(parents=True, exist_ok=True)
        config.save(directory / "config.yaml")
        write_whole(directory / DATA, dataset.fingerprint)
    PartialState().wait_for_everyone()
    model = shard(built.model, config) if config.compute.fsdp else built.model
    return NoteTrainer(model, config, PlannedBatches(planned.batches, collator), planned.pool, directory)


def _contrasts(config: TrainingConfig, dataset: Dataset) -> Contrasts:
    loss = config.loss
    groups = {note.id: note.category for note in dataset.notes.values()} if config.examples.stay_within else None
    known = dataset.cooccurrences["train"]
    return Contrasts(
        known,
        targets=loss.targets,
        power=loss.target_power,
        hashtag_prompts=loss.contrast_hashtag_prompts,
        groups=groups,
        teacher=Teacher(known, loss.distillation) if loss.distillation else None,
    )


def _training_notes(dataset: Dataset) -> list[Note]:
    return [dataset.notes[note] for note in sorted(dataset.split.train)]


def facts(config: TrainingConfig, dataset: Dataset, metrics: dict[str, float]) -> CheckpointFacts:
    """What the manifest of a run's checkpoint says of its settings and its data."""
    notes = _training_notes(dataset)
    return CheckpointFacts(
        name=config.name,
        base_model=base_name(config.model.base),
        prompt=config.model.prompt,
        emb_token=EMB_TOKEN,
        categories=categories_of(notes),
        hashtag_vocabulary=hashtags_by_frequency(notes),
        data_fingerprint=dataset.fingerprint,
        metrics=metrics,
    )


def git_revision() -> str | None:
    """The commit of the code, with `-dirty` if there are uncommitted changes; None outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        answer = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
