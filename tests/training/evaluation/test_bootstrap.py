import numpy as np
import pytest

from training.errors import EvaluationError
from training.evaluation.bootstrap import Bootstrap, Estimate


def test_draws_equal_a_loop_over_drawn_units() -> None:
    """Brute force: draw units with the same generator, collect their observations one by one, average."""
    values, units = np.array([1.0, 0.0, 0.5, 0.25, 1.0]), np.array([7, 7, 2, 9, 9])
    random, expected = np.random.default_rng(3), []
    for drawn in random.integers(3, size=(20, 3)):
        found = [value for unit in drawn for value, of in zip(values, units, strict=True) if of == [2, 7, 9][unit]]
        expected.append(sum(found) / len(found))
    comparison = Bootstrap(draws=20, seed=3).compare({"a": values}, units)
    assert comparison.values["a"] == pytest.approx(0.55)
    assert comparison.draws["a"] == pytest.approx(expected)


def test_more_draws_than_fit_in_memory_together() -> None:
    values = np.random.default_rng(0).random(30)
    few, many = (Bootstrap(draws=draws).compare({"a": values}, np.arange(30)).draws["a"] for draws in (100, 250))
    assert len(many) == 250
    assert np.array_equal(many[:100], few)
    assert len(set(many)) > 200


def test_identical_methods_do_not_differ_at_all() -> None:
    values = np.random.default_rng(1).random(50)
    compared = Bootstrap(draws=200).compare({"a": values, "b": values.copy()}, np.arange(50) // 3)
    assert compared.difference("a", "b") == Estimate(value=0, low=0, high=0)


def test_paired_intervals_are_narrower_than_those_of_independent_draws() -> None:
    hard = np.random.default_rng(2).random(400)
    compared = Bootstrap().compare({"better": hard + 0.01, "worse": hard}, np.arange(400))
    difference = compared.difference("better", "worse")
    assert [difference.low, difference.high] == pytest.approx([0.01, 0.01])
    alone = compared.estimates()["better"]
    assert alone.high - alone.low > 0.03
    assert compared.differences()["worse"]["better"].value == pytest.approx(-0.01)


def test_interval_of_a_mean_is_that_of_the_textbook() -> None:
    values = np.random.default_rng(4).normal(size=2000)
    estimate = Bootstrap(draws=2000).compare({"a": values}, np.arange(2000)).estimates()["a"]
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_observations_of_one_unit_widen_the_interval() -> None:
    """Ten copies of each observation are no new evidence when they belong to one asking note."""
    values = np.repeat(np.random.default_rng(5).random(40), 10)
    bootstrap = Bootstrap()
    clustered = bootstrap.compare({"a": values}, np.repeat(np.arange(40), 10)).estimates()["a"]
    independent = bootstrap.compare({"a": values}, np.arange(400)).estimates()["a"]
    assert clustered.high - clustered.low > 2.5 * (independent.high - independent.low)


def test_only_chosen_observations_count() -> None:
    values, chosen = np.array([1.0, 0.0, 1.0, 5.0]), np.array([True, True, False, False])
    compared = Bootstrap(draws=50).compare({"a": values}, np.array([0, 1, 1, 2]), chosen)
    assert compared.values["a"] == 0.5
    assert set(compared.draws["a"]) <= {0.0, 0.5, 1.0}
    with pytest.raises(EvaluationError, match="nothing to average"):
        Bootstrap().compare({"a": values}, np.arange(4), np.zeros(4, dtype=bool))
