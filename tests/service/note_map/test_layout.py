"""Positions and regions of vectors. UMAP itself runs in `test_drawing.py`, in a process of its own."""

import numpy as np
import pytest

from service.note_map.layout import FEWEST_FOR_UMAP, _Epochs, divide, place, principal_components
from tests.service.note_map.archives import clusters


def test_principal_components_keep_the_most_variance() -> None:
    draw = np.random.default_rng(1)
    vectors = (draw.normal(size=(500, 6)) * [5, 3, 1, 0.5, 0.1, 0.01] + 7).astype(np.float32)
    found = principal_components(vectors, 2)
    expected = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(found), np.abs(expected[0][:, :2] * expected[1][:2]), atol=1e-3)


def test_a_sign_is_never_left_to_chance() -> None:
    vectors = clusters(50)
    turned = principal_components(vectors[::-1].copy(), 2)[::-1]
    np.testing.assert_allclose(principal_components(vectors, 2), turned, atol=1e-4)


@pytest.mark.parametrize("count", [0, 1, 2, FEWEST_FOR_UMAP - 1])
def test_few_notes_have_places_too(count: int) -> None:
    positions = place(clusters(count))
    assert positions.shape == (count, 2)
    assert np.isfinite(positions).all()
    if count > 1:
        assert np.abs(positions).max() == pytest.approx(1)


def test_equal_vectors_have_places() -> None:
    assert np.isfinite(place(np.ones((5, 8), dtype=np.float32))).all()


def test_regions_are_what_lies_together() -> None:
    draw = np.random.default_rng(2)
    middles = np.repeat([[-1, -1], [1, 1], [-1, 1]], 100, axis=0)
    regions = divide((middles + draw.normal(0, 0.05, (300, 2))).astype(np.float32))
    for first in (0, 100, 200):
        own = set(regions[first : first + 100])
        assert own.isdisjoint(set(regions) - own)
        assert all(set(regions[other : other + 100]).isdisjoint(own) for other in (0, 100, 200) if other != first)
    assert set(divide(np.zeros((5, 2), dtype=np.float32))) == {0}


def test_it_reads_a_progress_bar() -> None:
    said: list[float] = []
    bar = _Epochs(said.append)
    for text in ("\r", "0/200 ", "\r100/200 ", "200/200 ", "\n"):
        bar.write(text)
    bar.flush()
    assert said == [pytest.approx(0.4), pytest.approx(0.7), pytest.approx(1.0)]
