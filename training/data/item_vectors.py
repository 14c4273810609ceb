"""`ItemVectors`: vectors of notes from behaviour alone, without their text."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from sklearn.decomposition import TruncatedSVD

from training.data.cooccurrences import Cooccurrences


@dataclass(frozen=True)
class ItemVectors:
    """Notes that the same users visit are alike.

    Attributes:
        row: the row of each note that co-occurs with another one.
        vectors: (notes, dimensions), unit vectors, float32.
    """

    row: dict[str, int]
    vectors: npt.NDArray[np.float32]

    @classmethod
    def of(cls, cooccurrences: Cooccurrences, dimensions: int) -> "ItemVectors":
        """The leading directions of the positive pointwise mutual information of notes.

        Levy and Goldberg (2014) show that this is what word2vec with negative sampling approximates; item2vec is word2vec of visited
        notes.

        Args:
            cooccurrences: there is at least one.
            dimensions: length of the vectors; they are shorter if there are fewer notes.
        """
        rows = np.concatenate([cooccurrences.first, cooccurrences.second])
        columns = np.concatenate([cooccurrences.second, cooccurrences.first])
        scores = np.concatenate([cooccurrences.score, cooccurrences.score])
        known, places = np.unique(rows, return_inverse=True)
        others = np.searchsorted(known, columns)
        degrees = np.bincount(places, weights=scores)
        information = np.log(scores * scores.sum() / (degrees[places] * degrees[others]))
        matrix = coo_array((np.maximum(information, 0), (places, others)), shape=(len(known), len(known))).tocsr()
        svd = TruncatedSVD(max(1, min(dimensions, len(known) - 1)), random_state=0)
        vectors = svd.fit_transform(matrix) / np.sqrt(np.maximum(svd.singular_values_, np.finfo(np.float64).tiny))
        unit = (vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)).astype(np.float32)
        return cls({cooccurrences.notes[note]: row for row, note in enumerate(known.tolist())}, unit)

    def cosines(self, rows: Sequence[str], columns: Sequence[str]) -> npt.NDArray[np.float32]:
        """How alike notes are, (rows, columns); not a number where one of the two is not known."""
        (first, first_known), (second, second_known) = self._of(rows), self._of(columns)
        return np.where(first_known[:, None] & second_known, first @ second.T, np.nan)

    def _of(self, notes: Sequence[str]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Vectors, and which of them are known."""
        places = np.array([self.row.get(note, -1) for note in notes], np.int64)
        return self.vectors[places], places >= 0
