"""Batches: which notes are in them, and their tensors."""

from typing import TYPE_CHECKING

from notellm.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from training.batches.batches import Collator as Collator, TokenRows as TokenRows, TrainingBatch as TrainingBatch
    from training.batches.contrast import Contrast as Contrast, Contrasts as Contrasts, TargetKind as TargetKind
    from training.batches.examples import (
        Asked as Asked,
        BatchPlan as BatchPlan,
        ExampleSettings as ExampleSettings,
        undirected as undirected,
    )
    from training.batches.memory import MemoryPlan as MemoryPlan, Remembered as Remembered
    from training.batches.teacher import DistillationSettings as DistillationSettings, Teacher as Teacher
    from training.batches.validation_pool import ValidationPool as ValidationPool
else:
    __getattr__, __all__ = lazy_exports(
        __name__,
        {
            ".batches": ("Collator", "TokenRows", "TrainingBatch"),
            ".contrast": ("Contrast", "Contrasts", "TargetKind"),
            ".examples": ("Asked", "BatchPlan", "ExampleSettings", "undirected"),
            ".memory": ("MemoryPlan", "Remembered"),
            ".teacher": ("DistillationSettings", "Teacher"),
            ".validation_pool": ("ValidationPool",),
        },
    )
