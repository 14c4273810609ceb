"""TF-IDF and BM25: retrieval by shared words or characters, without training."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from notellm.note import NoteText
from training.evaluation.packages import evaluation_package
from training.evaluation.text import note_text, words
from training.ranking import Indices, Scores


class TfIdf:
    """Cosine of TF-IDF vectors (scikit-learn's defaults), with document frequencies from the pool.

    Args:
        pool: the notes, in pool order.
    """

    name = "tfidf"
    _terms: ClassVar[dict[str, Any]] = {"analyzer": words}

    def __init__(self, pool: Sequence[NoteText]) -> None:
        text = evaluation_package("sklearn.feature_extraction.text")
        self._vectorizer = text.TfidfVectorizer(**self._terms, dtype=np.float32)
        self._vectors = self._vectorizer.fit_transform(map(note_text, pool))

    def scores(self, queries: Indices) -> Scores:
        """Cosines, (queries, pool)."""
        return self._cosines(self._vectors[queries])

    def scores_of(self, notes: Sequence[NoteText]) -> Scores:
        """Cosines of notes that are not in the pool, (notes, pool)."""
        return self._cosines(self._vectorizer.transform(map(note_text, notes)))

    def _cosines(self, vectors: Any) -> Scores:
        cosines: Scores = (vectors @ self._vectors.T).toarray()
        return cosines


class CharacterTfIdf(TfIdf):
    """The same with runs of three to five characters as terms, within words and with their edges (scikit-learn's `char_wb`)."""

    name = "tfidf-characters"
    _terms: ClassVar[dict[str, Any]] = {"analyzer": "char_wb", "ngram_range": (3, 5)}


class BM25:
    """Okapi BM25 (bm25s with its defaults: Lucene's variant, k1 = 1.5, b = 0.75). The query consists of the query note's words.

    Args:
        pool: the notes, in pool order.
    """

    name = "bm25"

    def __init__(self, pool: Sequence[NoteText]) -> None:
        self._words = [words(note_text(note)) for note in pool]
        self._index = evaluation_package("bm25s").BM25()
        self._index.index(self._words, show_progress=False)

    def scores(self, queries: Indices) -> Scores:
        """BM25 scores, (queries, pool)."""
        return np.stack([self._scores_of(self._words[query]) for query in queries])

    def _scores_of(self, query: list[str]) -> Scores:
        if not query:  # the note has only emoji
            return np.zeros(len(self._words), dtype=np.float32)
        scores: Scores = self._index.get_scores(query)
        return scores
