"""`TextFeatures`: TF-IDF of terms, reduced to a few hundred dimensions."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from training.errors import DataError
from training.projection.closed_form import Features, Floats

# A term of a single note says nothing about how notes are related.
_MIN_NOTES = 2


class TextFeatures:
    """Terms weighted by (1 + log count) · idf, each note to unit length (scikit-learn), then a truncated SVD without centring.

    The features of a note are therefore Σ w_t · components[:, t] over its terms, with w of unit length.

    Args:
        documents: the terms of each training note: words, or ids of tokens.
        size: number of features.

    Attributes:
        vocabulary: the column of each known term.
        idf: (terms,), the inverse document frequencies.
        components: (features, terms).

    Raises:
        DataError: there are no terms that two notes have.
    """

    def __init__(self, documents: Sequence[Sequence[str]] | Sequence[Sequence[int]], size: int = 700) -> None:
        self._vectorizer = TfidfVectorizer(analyzer=list, sublinear_tf=True, min_df=_MIN_NOTES, dtype=np.float32)
        try:
            weights = self._vectorizer.fit_transform(documents)
        except ValueError as error:
            raise DataError(f"the texts of {len(documents):,} training notes have no words in common") from error
        self.vocabulary: dict[str | int, int] = self._vectorizer.vocabulary_
        self.idf: Floats = self._vectorizer.idf_
        size = min(size, *(count - 1 for count in weights.shape))
        self._svd = TruncatedSVD(max(size, 1), random_state=0).fit(weights)
        self.components: npt.NDArray[np.float32] = self._svd.components_

    def transform(self, documents: Sequence[Sequence[str]] | Sequence[Sequence[int]]) -> Features:
        """The features of notes, (notes, features). Terms that are not known do not count."""
        features: Features = self._svd.transform(self._vectorizer.transform(documents)).astype(np.float32)
        return features
