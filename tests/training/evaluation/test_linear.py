"""The linear baselines on the small platform, where the topic decides who reads what."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from notellm import Note
from training.config import TrainingConfig
from training.data import Dataset, load_dataset
from training.errors import BaseModelError
from training.evaluation.linear import LinearText, token_terms, word_terms
from training.evaluation.text import words
from training.projection import RIDGES

DIMENSIONS = 4


@pytest.fixture(scope="module")
def dataset(run_config: Callable[..., TrainingConfig]) -> Dataset:
    return load_dataset(run_config().data)


def test_notes_that_are_read_together_become_alike(dataset: Dataset) -> None:
    """Also those that share no word, and notes that training has not seen."""
    method = LinearText("words-linear", word_terms, dataset, DIMENSIONS)
    texts = ("hops lager", "malt yeast", "qubit gate", "spin noise")
    vectors = method.embed([Note(id=text[:4], title=text) for text in texts])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    cosines = vectors @ vectors.T
    assert min(cosines[0, 1], cosines[2, 3]) > cosines[:2, 2:].max() + 0.3


def test_only_training_notes_are_learnt_from(dataset: Dataset) -> None:
    changed = {note: dataset.notes[note].model_copy(update={"title": "zebra"}) for note in dataset.split.test}
    other = replace(dataset, notes=dataset.notes | changed)
    notes = [dataset.notes[note] for note in sorted(dataset.split.test)]
    one, two = (LinearText("x", word_terms, data, DIMENSIONS).embed(notes) for data in (dataset, other))
    assert (one == two).all()


def test_the_ridge_is_chosen_and_named(dataset: Dataset) -> None:
    method = LinearText("x", word_terms, dataset, DIMENSIONS)
    assert method.ridge in RIDGES
    assert f"ridge {method.ridge:g} (of 0.03, 0.1, 0.3, 1, 3, the best recall@" in method.about
    assert f"all {len(dataset.cooccurrences['train']):,} co-occurrences" in method.about
    unknown = method.embed([Note(id="x", title="zebra")])
    assert (unknown == 0).all()


def test_without_validation_the_ridge_is_a_default(run_config: Callable[..., TrainingConfig]) -> None:
    dataset = load_dataset(run_config(data__split={"validation": 0, "test": 0.2}).data)
    method = LinearText("x", word_terms, dataset, DIMENSIONS)
    assert method.ridge == pytest.approx(0.3)
    assert "no validation co-occurrence" in method.about


def test_terms_are_words_or_lower_cased_tokens(tiny_base: Path) -> None:
    note = Note(id="x", title="Cold BREW", hashtags=("Hops",))
    assert word_terms([note]) == [words("cold brew hops")]
    terms = token_terms(str(tiny_base))
    (tokens,) = terms([note])
    assert all(isinstance(token, int) for token in tokens)
    assert terms([Note(id="x", title="COLD brew", hashtags=("hops",))]) == [tokens]
    (control,) = terms([Note(id="x", title="<|im_end|>")])
    assert len(control) > 1  # plain text, never the control token


def test_a_base_without_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match=r"the tokenizer of .* cannot be loaded"):
        token_terms(str(tmp_path))
