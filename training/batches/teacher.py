"""`Teacher`: what the notes of a batch are to each other by behaviour beyond direct co-occurrence, as a second soft target."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from training.data import Cooccurrences, ItemVectors

Matrix = npt.NDArray[np.float64]


class DistillationSettings(BaseModel):
    """Distillation of item vectors: two notes may be alike although no user has happened to visit both."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: float = Field(
        default=0.6,
        gt=0,
        lt=1,
        description="Share of the target that the item vectors give; `loss.targets` gives the rest.",
    )
    dimensions: int = Field(default=128, ge=1, description="Length of the item vectors.")
    factor: float = Field(
        default=10.0,
        gt=0,
        description="The item vectors' part of a target is the softmax of their cosines times this.",
    )


class Teacher:
    """Item vectors that teach.

    The cross-entropy is linear in its target, so a mixed target is the same as two losses with the weights share and 1 - share.

    Args:
        cooccurrences: those of the training notes; the item vectors are made of them.
        settings: how much they teach.
    """

    def __init__(self, cooccurrences: Cooccurrences, settings: DistillationSettings) -> None:
        self._items = ItemVectors.of(cooccurrences, settings.dimensions) if len(cooccurrences) else None
        self._settings = settings

    def mix(self, targets: Matrix, left_out: npt.NDArray[np.bool_], rows: Sequence[str], columns: Sequence[str]) -> Matrix:
        """The targets with the item vectors' part.

        A row keeps its target if it is all 0, or if behaviour does not know its note or any of the notes that it may find.

        Args:
            targets: (rows, columns), distributions or all 0.
            left_out: (rows, columns), the columns that a row does not see.
            rows: ids of the notes that ask.
            columns: ids of the notes that they see.
        """
        if self._items is None:
            return targets
        cosines = self._items.cosines(rows, columns)
        seen = ~left_out & ~np.isnan(cosines)
        weights = np.where(seen, np.exp(self._settings.factor * (np.where(seen, cosines, 1) - 1)), 0)
        totals = weights.sum(axis=1, keepdims=True)
        taught = (totals > 0) & (targets.sum(axis=1, keepdims=True) > 0)
        share = np.where(taught, self._settings.share, 0)
        mixed: Matrix = (1 - share) * targets + share * weights / np.where(totals > 0, totals, 1)
        return mixed
