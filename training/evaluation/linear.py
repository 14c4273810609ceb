"""`LinearText`: what words alone can learn from behaviour, solved in closed form. A language model must beat it to be worth its cost."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from notellm.note import Note, NoteText
from notellm.tokenizer import PlainTokenizer
from training.data import Dataset
from training.errors import BaseModelError
from training.evaluation.machine import machine_note
from training.evaluation.text import note_text, words
from training.evaluation.validation import cooccurrence_pool
from training.model.initialize import base_path
from training.projection import DEFAULT_RIDGE, RIDGES, Moments, TextFeatures
from training.ranking import Scores

logger = logging.getLogger(__name__)
FEATURES = 700
Terms = Callable[[Sequence[NoteText]], list[list[Any]]]


class LinearText:
    """TF-IDF and SVD of the terms of the training notes, then the linear map that makes co-occurring training notes alike.

    The ridge is the one with the best recall on the co-occurrences of the validation notes.

    Args:
        name: name of the method.
        terms: the terms of each note, words or ids of tokens.
        dataset: the map learns from its training notes and all their co-occurrences.
        dimensions: length of the vectors.

    Raises:
        DataError: the training notes have too few terms in common, or no co-occurrence.
    """

    def __init__(self, name: str, terms: Terms, dataset: Dataset, dimensions: int) -> None:
        self.name = name
        self._terms = terms
        cooccurrences = dataset.cooccurrences["train"]
        documents = terms([dataset.notes[note] for note in cooccurrences.notes])
        self._features = TextFeatures(documents, FEATURES)
        moments = Moments.of(self._features.transform(documents), cooccurrences)
        self._count, self._dimensions = len(cooccurrences), dimensions
        self.ridge, self._weight, self._chosen = self._choose(moments, dataset)

    @property
    def about(self) -> str:
        """What was learnt, and how the ridge was chosen."""
        size = len(self._features.components)
        return (
            f"TF-IDF and SVD to {size} features, {self._dimensions} dimensions in closed form from all {self._count:,} co-occurrences "
            f"of training notes, ridge {self.ridge:g} ({self._chosen})"
        )

    @property
    def machine(self) -> str:
        """Processor and dtype."""
        return machine_note("cpu", "float32")

    def embed(self, notes: Sequence[Note]) -> Scores:
        """Unit vectors, (notes, dimensions); zeros for a note without known terms."""
        return _unit(self._features.transform(self._terms(notes)), self._weight)

    def _choose(self, moments: Moments, dataset: Dataset) -> tuple[float, Scores, str]:
        """The ridge, its map, and why."""
        pool = cooccurrence_pool(dataset)
        maps = {ridge: moments.solve(self._dimensions, ridge).weight.astype(np.float32) for ridge in RIDGES}
        if pool is None:
            return DEFAULT_RIDGE, maps[DEFAULT_RIDGE], "there is no validation co-occurrence to choose it by"
        features, k = self._features.transform(self._terms([dataset.notes[note] for note in pool.notes])), pool.cut
        recalls = {ridge: pool.recall(self.name, _unit(features, weight), k) for ridge, weight in maps.items()}
        logger.info("%s: validation recall@%d by ridge %s", self.name, k, recalls)
        best = max(RIDGES, key=recalls.__getitem__)
        tried = ", ".join(f"{ridge:g}" for ridge in RIDGES)
        return best, maps[best], f"of {tried}, the best recall@{k} on the co-occurrences of validation notes"


def word_terms(notes: Sequence[NoteText]) -> list[list[Any]]:
    """The words of each note."""
    return [words(note_text(note)) for note in notes]


def token_terms(base: str) -> Terms:
    """The ids of a base model's tokens in the lower-cased text of each note, without control tokens.

    Raises:
        BaseModelError: the base has no tokenizer.
    """
    tokenizer = PlainTokenizer(_tokenizer(base))
    return lambda notes: tokenizer.encode_batch([note_text(note).lower() for note in notes])


def _tokenizer(base: str) -> Any:
    """The tokenizer of a base model, without its weights."""
    path = base_path(base)
    try:
        if path.suffix == ".gguf":
            return PreTrainedTokenizerFast.from_pretrained(str(path.parent), gguf_file=path.name)
        return AutoTokenizer.from_pretrained(str(path) if path.exists() else base, trust_remote_code=False)
    except Exception as error:  # whatever the library raises, the user needs the base's name
        raise BaseModelError(f"the tokenizer of {base} cannot be loaded: {error}") from error


def _unit(features: Scores, weight: Scores) -> Scores:
    vectors = features @ weight.T
    unit: Scores = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return unit
