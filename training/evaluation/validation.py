"""Recall on the validation pool: what decides when a run stops."""

from training.ranking import Indices, Scores, Vectors, recall, target_ranks


def validation_recall(vectors: Scores, sources: Indices, targets: Indices, k: int) -> float:
    """Share of the pairs whose target is among the first k notes of the whole pool.

    Args:
        vectors: (pool, dimensions) unit float32 vectors.
        sources: (pairs,), positions of the asking notes in the pool.
        targets: (pairs,), positions of the notes to be found.
        k: how many notes count as found.

    Raises:
        EvaluationError: a note is its own target, or a vector holds something that is no finite number.
    """
    return recall(target_ranks(Vectors("validation", vectors), sources, targets), k)
