"""Features of terms against their definition."""

import math

import numpy as np
import pytest

from training.errors import DataError
from training.projection import TextFeatures

NOTES = [["tea", "tea", "green"], ["tea", "cup"], ["green", "cup", "red"], ["red", "tea", "cup", "once"], ["green", "red"]]


def test_features_are_weighted_sums_of_components() -> None:
    features = TextFeatures(NOTES, 3)
    assert set(features.vocabulary) == {"tea", "green", "cup", "red"}  # a term of one note says nothing about others
    idf = dict(zip(sorted(features.vocabulary), features.idf.tolist(), strict=True))
    assert idf["tea"] == pytest.approx(math.log(6 / 4) + 1)  # scikit-learn's smooth idf
    weights = {"tea": (1 + math.log(2)) * idf["tea"], "green": idf["green"]}
    length = math.hypot(*weights.values())
    expected = sum(weight / length * features.components[:, features.vocabulary[term]] for term, weight in weights.items())
    assert features.transform([["tea", "tea", "green", "new"]])[0] == pytest.approx(expected, abs=1e-6)


def test_a_note_of_unknown_terms_has_no_features() -> None:
    assert not TextFeatures(NOTES, 2).transform([["new"], []]).any()


def test_ids_are_terms_too() -> None:
    ids = {term: place for place, term in enumerate(["tea", "green", "cup", "red", "once"])}
    numbers = [[ids[term] for term in note] for note in NOTES]
    products = [
        features.transform(notes) for features, notes in ((TextFeatures(NOTES, 4), NOTES), (TextFeatures(numbers, 4), numbers))
    ]
    assert np.allclose(products[0] @ products[0].T, products[1] @ products[1].T, atol=1e-5)


def test_small_data_give_fewer_features() -> None:
    assert TextFeatures(NOTES, 700).components.shape == (3, 4)


@pytest.mark.parametrize("notes", [[[], []], [["a"], ["b"]]])
def test_texts_without_common_words_are_refused(notes: list[list[str]]) -> None:
    with pytest.raises(DataError, match="the texts of 2 training notes have no words in common"):
        TextFeatures(notes)
