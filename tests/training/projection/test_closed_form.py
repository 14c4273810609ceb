"""The closed form against its formula, written out with dense matrices."""

from typing import Any

import numpy as np
import pytest

from training.data import Cooccurrences
from training.errors import DataError
from training.projection import CooccurrenceWeights, Moments, closed_form

NOTES, FEATURES = 40, 12


def some_cooccurrences(count: int = 90, seed: int = 0) -> Cooccurrences:
    random = np.random.default_rng(seed)
    pairs = sorted({(min(pair), max(pair)) for pair in random.integers(NOTES, size=(count, 2)).tolist() if pair[0] != pair[1]})
    first, second = np.array(pairs).T
    return Cooccurrences(tuple(f"n{one:02}" for one in range(NOTES)), first, second, random.uniform(0.01, 4, len(pairs)))


def some_features(seed: int = 1) -> Any:
    random = np.random.default_rng(seed)
    return (random.normal(size=(NOTES, FEATURES)) @ random.normal(size=(FEATURES, FEATURES)) + 2).astype(np.float32)


def by_formula(features: Any, pairs: Cooccurrences, dimensions: int, ridge: float) -> tuple[Any, Any]:
    weights = np.minimum(pairs.score**0.5, np.percentile(pairs.score**0.5, 99))
    x = features.astype(np.float64)
    mean = x.mean(0) / np.linalg.norm(x.mean(0))
    x = x - np.outer(x @ mean, mean)
    between, within = np.zeros((2, FEATURES, FEATURES))
    for a, b, weight in zip(pairs.first, pairs.second, weights, strict=True):
        between += weight * (np.outer(x[a], x[b]) + np.outer(x[b], x[a])) / 2
        within += weight * (np.outer(x[a], x[a]) + np.outer(x[b], x[b])) / 2
    values, vectors = np.linalg.eigh(within + ridge * np.trace(within) / FEATURES * np.eye(FEATURES))
    whitening = vectors @ np.diag(values**-0.5) @ vectors.T
    strengths, directions = np.linalg.eigh(whitening @ between @ whitening)
    order = np.argsort(-strengths)[:dimensions]
    kept = np.maximum(strengths[order], 0)
    weight = (whitening @ directions[:, order] * np.sqrt(kept)).T
    return weight - np.outer(weight @ mean, mean), kept


def similarities(features: Any, weight: Any) -> Any:
    """Unlike the weights, these do not depend on the signs of eigenvectors."""
    return features @ weight.T @ weight @ features.T


@pytest.mark.parametrize("rows", [8192, 7, 1])
@pytest.mark.parametrize("ridge", [0.01, 0.3, 3.0])
def test_the_solution_is_that_of_the_formula(rows: int, ridge: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of the blocks."""
    monkeypatch.setattr(closed_form, "_ROWS", rows)
    features, pairs = some_features(), some_cooccurrences()
    solution = Moments.of(features, pairs).solve(5, ridge)
    weight, strengths = by_formula(features, pairs, 5, ridge)
    assert solution.strengths == pytest.approx(strengths, abs=1e-9)
    assert similarities(features, solution.weight) == pytest.approx(similarities(features, weight), abs=1e-6)


def test_it_has_no_need_of_a_bias() -> None:
    features, pairs = some_features(), some_cooccurrences()
    solution = Moments.of(features, pairs).solve(5, 0.1)
    assert solution.weight @ features.mean(0) == pytest.approx(np.zeros(5), abs=1e-5)
    moved = Moments.of(features + 3 * features.mean(0), pairs).solve(5, 0.1)
    assert similarities(features, moved.weight) == pytest.approx(similarities(features, solution.weight), abs=1e-4)


def test_notes_that_follow_each_other_become_alike() -> None:
    """Topic decides who follows whom, and is a faint part of the features."""
    random = np.random.default_rng(2)
    topic = np.arange(NOTES) % 2
    features = random.normal(size=(NOTES, FEATURES)).astype(np.float32)
    features[:, 0] = 0.3 * (2 * topic - 1)
    pairs = [(a, b) for a in range(NOTES) for b in range(a + 1, NOTES) if topic[a] == topic[b]]
    first, second = np.array(pairs).T
    cooccurrences = Cooccurrences(tuple(map(str, range(NOTES))), first, second, np.ones(len(pairs)))
    solution = Moments.of(features, cooccurrences).solve(1, 0.01)
    vectors = (features @ solution.weight.T)[:, 0]
    assert (np.sign(vectors) == np.sign(vectors[0])).tolist() == (topic == topic[0]).tolist()


def test_weights_are_powers_with_a_cap() -> None:
    scores = np.array([1.0, 4.0, 9.0, 10_000.0])
    assert CooccurrenceWeights(power=0.5, cap=50).of(scores) == pytest.approx([1, 2, 2.5, 2.5])
    assert CooccurrenceWeights(power=0, cap=100).of(scores) == pytest.approx([1, 1, 1, 1])


def test_nothing_to_learn_from_is_refused() -> None:
    nothing = Cooccurrences(("a", "b"), np.array([], int), np.array([], int), np.array([]))
    with pytest.raises(DataError, match="no two training notes were visited after each other"):
        Moments.of(np.ones((2, 3), np.float32), nothing)
    with pytest.raises(DataError, match="12 features give fewer than 12 directions: use more features or fewer dimensions"):
        Moments.of(some_features(), some_cooccurrences()).solve(12, 0.1)
