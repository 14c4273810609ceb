"""The pool on which baselines choose their settings: all validation notes, and every co-occurrence between them. Never test notes."""

import numpy as np

from training.batches import ValidationPool
from training.data import Dataset

CHOSEN_AT = 100
# In a pool of hardly more than 100 notes, every method has a recall@100 of nearly 1.
_LEAST_NOTES_A_CUT = 10


def cooccurrence_pool(dataset: Dataset) -> ValidationPool | None:
    """All validation notes; each co-occurrence asks in both directions. None if there is no co-occurrence."""
    found = dataset.cooccurrences["validation"]
    if not len(found):
        return None
    sources, targets = np.concatenate([found.first, found.second]), np.concatenate([found.second, found.first])
    return ValidationPool(found.notes, sources, targets)


def cut_of(pool: ValidationPool) -> int:
    """The k of the recall@k that decides: 100, or a tenth of a small pool."""
    return max(1, min(CHOSEN_AT, len(pool.notes) // _LEAST_NOTES_A_CUT))
