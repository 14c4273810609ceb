"""`Moments`: the linear map under which co-occurring notes have the most similar vectors, solved instead of trained.

X are features of notes without their mean direction, and w weights of co-occurrences. With C = Σ w (x_a x_bᵀ + x_b x_aᵀ) / 2,
G = Σ w (x_a x_aᵀ + x_b x_bᵀ) / 2 and the whitening W = (G + λ · mean eigenvalue of G · I)^-½, the eigenvectors U of W C W with the largest
eigenvalues μ give the map W U diag(√μ). This is canonical correlation analysis (Hotelling, 1936) between the two notes of a
co-occurrence, with the same map for both and a ridge.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from training.data import Cooccurrences
from training.errors import DataError

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.float32]
# The ridges λ to choose from on validation notes, and the one to take without them.
RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0)
DEFAULT_RIDGE = 0.3
# Rows of features that are in memory as float64 at the same time.
_ROWS = 8192


class CooccurrenceWeights(BaseModel):
    """How much a co-occurrence counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    power: float = Field(default=0.5, ge=0, description="A co-occurrence counts score^power.")
    cap: float = Field(
        default=99.0, gt=0, le=100, description="Weights above this percentile of all weights are lowered to it."
    )

    def of(self, scores: Floats) -> Floats:
        """The weights, (co-occurrences,)."""
        weights: Floats = scores**self.power
        return np.minimum(weights, np.percentile(weights, self.cap)) if len(weights) else weights


@dataclass(frozen=True)
class Solution:
    """A linear map without bias.

    Attributes:
        weight: (dimensions, features). It is orthogonal to the mean of the features.
        strengths: (dimensions,), the eigenvalues μ, the largest first: how alike co-occurring notes are in each direction.
    """

    weight: Floats
    strengths: Floats


@dataclass(frozen=True)
class Moments:
    """What the solution needs to know of features and co-occurrences.

    Attributes:
        between: C, (features, features).
        within: G, (features, features).
        mean: (features,), the direction that the map must ignore, a unit vector or zero.
    """

    between: Floats
    within: Floats
    mean: Floats

    @classmethod
    def of(cls, features: Features, cooccurrences: Cooccurrences, weights: CooccurrenceWeights | None = None) -> "Moments":
        """Reads the features in blocks, so that they may be a file mapped into memory. All sums are in float64.

        Args:
            features: (notes, features), in the order of `cooccurrences.notes`.
            cooccurrences: the pairs whose notes should be alike.
            weights: how much each of them counts; by default as `CooccurrenceWeights` says.

        Raises:
            DataError: there is no co-occurrence.
        """
        if not len(cooccurrences):
            raise DataError(
                "no two training notes were visited after each other: there is no behaviour to learn a projection from"
            )
        neighbours = cooccurrences.neighbours((weights or CooccurrenceWeights()).of(cooccurrences.score))
        count, size = features.shape
        blocks = [slice(start, start + _ROWS) for start in range(0, count, _ROWS)]
        mean = sum((features[block].astype(np.float64).sum(0) for block in blocks), np.zeros(size)) / count
        mean /= max(float(np.linalg.norm(mean)), np.finfo(np.float64).tiny)
        between, within = np.zeros((size, size)), np.zeros((size, size))
        for start, end in _blocks(neighbours.starts, _ROWS):
            edges = slice(int(neighbours.starts[start]), int(neighbours.starts[end]))
            degrees = np.diff(neighbours.starts[start : end + 1])
            if edges.start == edges.stop:
                continue
            own = _without(features[start:end][degrees > 0], mean)
            others = _without(features[neighbours.others[edges]], mean) * neighbours.values[edges, None]
            begins = np.concatenate([[0], np.cumsum(degrees[degrees > 0])[:-1]])
            between += own.T @ np.add.reduceat(others, begins) / 2
            within += (own.T * np.add.reduceat(neighbours.values[edges], begins)) @ own / 2
        return cls((between + between.T) / 2, within, mean)

    def solve(self, dimensions: int, ridge: float) -> Solution:
        """The map for one ridge.

        Args:
            dimensions: number of directions.
            ridge: λ, above 0.

        Raises:
            DataError: there are no more than `dimensions` features.
        """
        size = len(self.within)
        if dimensions >= size:  # one direction is the mean's
            raise DataError(f"{size} features give fewer than {dimensions} directions: use more features or fewer dimensions")
        values, vectors = np.linalg.eigh(self.within)
        values = np.maximum(values, 0)
        whitening = (vectors / np.sqrt(values + ridge * values.mean())) @ vectors.T
        strengths, directions = np.linalg.eigh(whitening @ self.between @ whitening)
        best = np.argsort(-strengths)[:dimensions]
        kept = np.maximum(strengths[best], 0)
        weight = (whitening @ directions[:, best] * np.sqrt(kept)).T
        return Solution(_without(weight, self.mean), kept)


def _without(rows: npt.NDArray[np.floating], direction: Floats) -> Floats:
    """The rows in float64, without their part along a unit vector."""
    exact = rows.astype(np.float64)
    return exact - (exact @ direction)[:, None] * direction


def _blocks(starts: npt.NDArray[np.int64], most: int) -> Iterator[tuple[int, int]]:
    """Cuts the notes into ranges that have at most `most` neighbours together, or consist of a single note."""
    start = 0
    while start < len(starts) - 1:
        end = max(start + 1, int(np.searchsorted(starts, starts[start] + most, side="right")) - 1)
        yield start, end
        start = end
