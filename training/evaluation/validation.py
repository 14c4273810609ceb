"""Recall on the validation pool, which decides when a run stops."""

from training.ranking import Indices, Scores, Vectors, recall, target_ranks


def validation_recall(vectors: Scores, sources: Indices, targets: Indices, k: int) -> float:
    """Share of the pairs whose target is among the first k notes of the whole pool.

    Args:
        vectors: (pool, dimensions) unit float32 vectors.
        sources: (pairs,), positions of the query notes in the pool.
        targets: (pairs,), positions of the notes to find.
        k: how many notes count as found.

    Raises:
        EvaluationError: a note is its own target, or a vector has a value that is not a finite number.
    """
    return recall(target_ranks(Vectors("validation", vectors), sources, targets), k)
