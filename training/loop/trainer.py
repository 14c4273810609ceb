"""`NoteTrainer`: `transformers.Trainer` with the global batches, losses and checkpoints of this project.

It differs from the stock trainer in three ways. Every process plans the same global batch and takes its share. Larger batches are
computed in chunks (GradCache) instead of by gradient accumulation, which would add no negatives. Models are sharded by FSDP2 as torch
documents it, on any device.
"""

import json
import math
import operator
import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.utils.data import DataLoader, SequentialSampler
from transformers import Trainer
from transformers.trainer_callback import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from training.batches import Asked, TrainingBatch, ValidationPool
from training.config import TrainingConfig
from training.errors import NonFiniteLossError
from training.loop.arguments import reporters, training_arguments
from training.loop.average import WeightAverage
from training.loop.memory import VectorMemory
from training.loop.planned_batches import PlannedBatches
from training.loop.state import Kept, load_state, save_state, saving, step_of
from training.model import CachedGradients, Losses, TrainingModel, global_count, total_loss


class NoteTrainer(Trainer):
    """Trains a `TrainingModel`.

    Args:
        model: the model; it must already be sharded if `config.compute.fsdp` is set.
        config: settings of the run.
        batches: the batches to train on.
        pool: the pool to measure recall on; None for no validation.
        directory: where log.jsonl and the resumable checkpoints are written.
        callbacks: additional callbacks.
    """

    model: Any  # the library's type allows None

    def __init__(
        self, model: TrainingModel, config: TrainingConfig, batches: PlannedBatches, pool: ValidationPool | None,
        directory: Path, callbacks: list[TrainerCallback] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            model=model,
            args=training_arguments(config, len(batches), directory, validate=pool is not None),
            train_dataset=batches,
            eval_dataset={} if pool else None,
            callbacks=[*(callbacks or ()), *reporters(config, directory)],
        )
        self.config = config
        self.batches = batches
        self.pool = pool
        self.log_path = directory / "log.jsonl"
        # Otherwise accelerate would wrap a sharded model in DDP.
        self.is_distributed_loading_by_transformers = isinstance(model, FSDPModule)
        self.loss_is_scaled_for_ga = True
        self._parts: dict[str, list[float]] = defaultdict(list)
        self._batch = 0
        dimensions = self.accelerator.unwrap_model(model).note_llm.dimensions
        self.memory = VectorMemory(config.loss.memory, dimensions, self.args.device)
        self.average = WeightAverage(model, len(batches), config.optimizer.average_share)
        self.add_callback(self.average)

    def get_train_dataloader(self) -> DataLoader[TrainingBatch]:
        """The plan's batches in order. Each process takes its share of every batch, so accelerate must not distribute them."""
        return DataLoader(
            self.batches, batch_size=1, sampler=SequentialSampler(self.batches), collate_fn=operator.itemgetter(0)
        )

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], None]:
        """One batch per step; the losses count their tokens themselves."""
        try:
            return [next(epoch_iterator)], None
        except StopIteration:
            return [], None

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Forward and backward pass of one global batch.

        Raises:
            NonFiniteLossError: the loss is not finite; the message gives the number of the batch and its notes.
        """
        batch: TrainingBatch = inputs.to(self.args.device)
        model.train()
        self._batch = batch.step
        self.accelerator.unwrap_model(model).temperature.cap()
        tokens = global_count(sum(len(chunk.output_ids) for chunk in batch.chunks), self.args.device)
        compute = self._whole_batch if len(batch.chunks) == 1 else self._in_chunks
        losses = compute(model, batch, tokens)
        if not math.isfinite(float(losses.total)):
            self._refuse("loss")
        for name, value in zip(("loss_contrastive", "loss_generative"), losses[1:3], strict=True):
            self._parts[name].append(float(value))
        return losses.total.detach()

    def _whole_batch(self, model: nn.Module, batch: TrainingBatch, tokens: Tensor) -> Losses:
        with self.compute_loss_context_manager():
            remembered = self.memory.read(batch.remembered)
            losses: Losses = model(batch.chunks[0], batch.contrast, output_tokens=tokens, remembered=remembered)
        if losses.embeddings is not None:
            self.memory.write(batch.remembered, losses.embeddings)
        if torch.isfinite(losses.total.detach()):
            self.accelerator.backward(losses.total)
        return Losses(*(loss.detach() for loss in losses[:3]))

    def _in_chunks(self, model: nn.Module, batch: TrainingBatch, tokens: Tensor) -> Losses:
        """GradCache: embeds all chunks without gradients, computes the loss's gradient for the embeddings, then trains by chunk."""
        cached = self._cached_gradients(model, batch)
        generative = torch.zeros_like(cached.contrastive) if cached else torch.zeros((), device=self.args.device)
        for index, chunk in enumerate(batch.chunks):
            last = index == len(batch.chunks) - 1
            share = cached and cached.share(batch.chunk_slice(index), with_temperature=last)
            with self._synchronize(model, last), self.compute_loss_context_manager():
                losses: Losses = model(chunk, output_tokens=tokens, gradients=share)
                self.accelerator.backward(losses.total)
            generative += losses.generative.detach()
        if cached is None:
            return Losses(generative, torch.zeros_like(generative), generative)
        return Losses(total_loss(cached.contrastive, generative, self.config.loss.alpha), cached.contrastive, generative)

    @torch.no_grad()
    def _cached_gradients(self, model: nn.Module, batch: TrainingBatch) -> CachedGradients | None:
        """The first pass of GradCache; None if there is no contrastive loss."""
        if not self.config.loss.contrastive:
            return None
        with self.compute_loss_context_manager():
            embeddings = torch.cat([model(chunk) for chunk in batch.chunks])
        remembered = self.memory.read(batch.remembered)
        gradients: CachedGradients = model(embeddings=embeddings, contrast=batch.contrast, remembered=remembered)
        self.memory.write(batch.remembered, embeddings)
        return gradients

    @contextmanager
    def _synchronize(self, model: nn.Module, now: bool) -> Iterator[None]:
        """Exchanges gradients between processes at the end of the backward pass only if `now` is true."""
        if isinstance(model, FSDPModule):
            model.set_requires_gradient_sync(now)
            yield
        elif now:
            yield
        else:
            with self.accelerator.no_sync(model):
                yield

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Measures recall@k and its standard error on the validation pool, with the averaged weights once there are some."""
        if self.pool is None:
            return {}
        self.model.eval()
        with self.average.applied():
            vectors = self._embed_pool(self.pool)
        k = self.config.validation.k
        measured = self.pool.measure(self.config.name, vectors, k)
        metrics = {f"eval_recall@{k}": measured.recall, f"eval_standard_error@{k}": measured.error}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self.model.train()
        return metrics

    @torch.no_grad()
    def _embed_pool(self, pool: ValidationPool) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Each process embeds its share, with equally many forward passes, since each pass gathers sharded weights."""
        rank, ranks = self.args.process_index, self.args.world_size
        collator = self.batches.collator
        examples = [collator.example(Asked(note, "none")) for note in pool.notes]
        order = sorted(range(len(examples)), key=lambda index: len(examples[index].ids))
        size = 64
        passes = -(-len(order) // (size * ranks))
        vectors = torch.zeros(len(order), self.accelerator.unwrap_model(self.model_wrapped).note_llm.dimensions)
        for turn in range(passes):
            start = (turn * ranks + rank) * size
            members = order[start : start + size] or order[:1]
            rows = collator.rows([examples[index] for index in members]).to(self.args.device)
            with self.compute_loss_context_manager():
                embedded = self.model_wrapped(rows).float().cpu()
            if order[start : start + size]:
                vectors[members] = embedded
        if ranks > 1:
            vectors = vectors.to(self.args.device)
            dist.all_reduce(vectors)
        return vectors.cpu().numpy()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the parts of the loss and τ to the logs, and writes them as a line to log.jsonl."""
        if "loss" in logs:
            logs |= {name: self._mean_over_processes(sum(values) / len(values)) for name, values in self._parts.items()}
            logs["temperature"] = self._temperature()
            logs["gradient_norm"] = logs.pop("grad_norm", math.nan)
            self._parts.clear()
        super().log(logs, start_time)
        if self.args.process_index == 0:
            line = {"step": self.state.global_step} | {name.replace("eval_", "validation_"): v for name, v in logs.items()}
            with self.log_path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")

    def _mean_over_processes(self, value: float) -> float:
        """The mean over all processes, which is the value of the global batch."""
        if self.args.world_size == 1:
            return value
        summed = torch.tensor(value, device=self.args.device)
        dist.all_reduce(summed)
        return float(summed) / int(self.args.world_size)

    def _temperature(self) -> float:
        value: Any = self.accelerator.unwrap_model(self.model_wrapped).temperature.log_scale.detach()
        return float(value.full_tensor() if hasattr(value, "full_tensor") else value)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW. Projection, token vectors and τ may have a different learning rate, and τ has no weight decay."""
        if self.optimizer is None:
            settings = self.config.optimizer
            head_rate = settings.head_learning_rate or settings.learning_rate
            decayed = set(self.get_decay_parameter_names(self.model))
            groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
            for name, parameter in self.model.named_parameters():
                if parameter.requires_grad:
                    head = name.startswith(("temperature.", "note_llm.projection.", "note_llm.tokens."))
                    decay = settings.weight_decay if name in decayed and not name.startswith("temperature.") else 0.0
                    groups[(head_rate if head else settings.learning_rate, decay)].append(parameter)
            self.optimizer = torch.optim.AdamW(
                [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()]
            )
        return self.optimizer

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """See `Trainer`. It runs before the optimiser's step, which would break all weights if a gradient is not finite."""
        norm = super()._get_grad_norm(model, grad_norm)  # type: ignore[no-untyped-call]
        if not math.isfinite(float(norm)):
            self._refuse("gradient")
        return norm

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted, because the library expects a dictionary as batch."""
        return 0

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        directory = Path(self._get_output_dir(trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        if self.args.process_index == 0:
            shutil.rmtree(directory, ignore_errors=True)  # left by an interrupted save
        if self.args.world_size > 1:
            dist.barrier()
        # `saving` makes the directory before the library checks whether this state is the best one.
        with saving(directory):
            super()._save_checkpoint(model, trial)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Does nothing: weights are saved with the optimiser's state, in the same way for every kind of data parallelism."""

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        kept = Kept(self.average.mean, self.memory.vectors)
        save_state(Path(output_dir), self.model, self.optimizer, self.lr_scheduler, kept)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Does nothing, see `save_model`."""

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            self.load(Path(checkpoint), self.optimizer, self.lr_scheduler)

    def load(self, state: Path, optimizer: Any = None, scheduler: Any = None) -> None:
        """Loads the weights, their average and the memory, and, if given, the optimiser and the schedule."""
        kept = Kept(self.average.to_load(step_of(state)), self.memory.vectors)
        load_state(state, self.model, optimizer, scheduler, kept)

    def _load_best_model(self) -> None:
        load_state(Path(str(self.state.best_model_checkpoint)), self.model)

    def _refuse(self, what: str) -> NoReturn:
        batch = self.batches.plan[self._batch]
        notes = ", ".join(asked.note for asked in (*batch.first, *batch.second)[:6])
        raise NonFiniteLossError(
            f"the {what} of batch {self._batch} is not a finite number (its notes: {notes}, …): lower optimizer.learning_rate, or "
            "check these notes; the last checkpoint was saved before this batch"
        )
