"""The pool on which baselines choose their settings: all validation notes, and every co-occurrence between them. Never test notes."""

import numpy as np

from training.batches import ValidationPool
from training.data import Dataset


def cooccurrence_pool(dataset: Dataset) -> ValidationPool | None:
    """All validation notes; each co-occurrence asks in both directions. None if there is no co-occurrence."""
    found = dataset.cooccurrences["validation"]
    if not len(found):
        return None
    sources, targets = np.concatenate([found.first, found.second]), np.concatenate([found.second, found.first])
    return ValidationPool(found.notes, sources, targets)
