"""The arguments of the stock trainer, and where it reports training curves in addition to log.jsonl."""

import logging
import math
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments
from transformers.integrations.integration_utils import TensorBoardCallback, WandbCallback
from transformers.trainer_callback import TrainerCallback

from training.config import TrainingConfig
from training.errors import ConfigError
from training.precision import on_this_machine

logger = logging.getLogger(__name__)


def training_arguments(config: TrainingConfig, steps: int, directory: Path, *, validate: bool) -> TrainingArguments:
    """The stock trainer's settings for a run of `steps` global batches."""
    every = min(config.validation.every_steps, steps)
    keep_best = validate and config.validation.keep_best
    save_every = every if validate else min(config.run.save_every_steps, steps)
    arguments = TrainingArguments(
        output_dir=str(directory / "states"),
        use_cpu=not torch.cuda.is_available(),  # otherwise the library ignores the other processes of a run on CPUs
        max_steps=steps,
        per_device_train_batch_size=1,
        learning_rate=config.optimizer.learning_rate,
        weight_decay=config.optimizer.weight_decay,
        warmup_steps=math.ceil(config.optimizer.warmup_share * steps),
        lr_scheduler_type=config.optimizer.schedule,
        max_grad_norm=config.optimizer.max_gradient_norm,
        bf16=not config.compute.fsdp and on_this_machine(config.compute.precision) == "bfloat16",
        seed=config.seed,
        logging_steps=config.run.log_every_steps,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=save_every,
        save_total_limit=config.run.keep,
        eval_strategy="steps" if validate else "no",
        eval_steps=every,
        load_best_model_at_end=keep_best,
        metric_for_best_model=f"eval_recall@{config.validation.k}" if keep_best else None,
        greater_is_better=True if keep_best else None,
        report_to="none",  # see `reporters`
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        ddp_find_unused_parameters=False,
        ddp_timeout=math.ceil(config.compute.timeout_minutes * 60),
    )
    use_one_gpu(arguments)
    return arguments


def use_one_gpu(arguments: TrainingArguments) -> None:
    """Makes the stock trainer use one GPU. With several, it would wrap the model in `DataParallel`, which cannot split packed batches."""
    if (gpus := arguments.n_gpu) > 1:
        logger.warning("%d GPUs are visible and one is used: to use all, start deploy/training/torchrun.sh CONFIG OUTPUT", gpus)
        arguments._n_gpu = 1


def reporters(config: TrainingConfig, directory: Path) -> list[TrainerCallback]:
    """The callbacks that report training curves to `run.report_to`.

    Raises:
        ConfigError: the package of a reporter is not installed.
    """
    reporters: list[TrainerCallback] = []
    reporter: Any
    for name in config.run.report_to:
        try:
            reporter = TensorBoardCallback() if name == "tensorboard" else WandbCallback()
        except RuntimeError as error:
            raise ConfigError(f"run.report_to {name}: the package {name} is not installed") from error
        if name == "tensorboard":
            reporter.logging_dir = str(directory / "tensorboard")
        reporters.append(reporter)
    return reporters
