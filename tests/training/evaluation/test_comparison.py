from pathlib import Path

import numpy as np
import pytest

from notellm import Note
from training.errors import EvaluationError
from training.evaluation.bootstrap import Bootstrap
from training.evaluation.comparison import Results
from training.evaluation.measurement import HashtagScores, Measurement, read_measurements, write_measurement
from training.evaluation.pool import TestPool

NOTES = tuple(Note(id=f"{index:02}", title=f"note {index}", category="ab"[index % 2]) for index in range(12))
POOL = TestPool(
    NOTES, np.array([0, 0, 1, 2, 3, 4]), np.array([1, 2, 0, 3, 4, 5]), np.array([9, 1, 1, 5, 2, *[0] * 7]), (), "data"
)
RANKS = [1.0, 11.0, 4.0, 1.0, 10.0, 2.5]


def results(**ranks: list[float]) -> Results:
    measured = {name: Measurement(method=name, about="", pool=POOL.fingerprint, ranks=one) for name, one in ranks.items()}
    return Results(POOL, measured, Bootstrap(draws=200))


def test_recall_counts_pairs() -> None:
    compared = results(a=RANKS)
    assert compared.cuts == (1, 10)
    assert compared.recall(1).values["a"] == pytest.approx(2 / 6)
    assert compared.recall(10).values["a"] == pytest.approx(5 / 6)
    assert compared.reciprocal_rank().values["a"] == pytest.approx(np.mean([1 / rank for rank in RANKS]))


def test_intervals_are_over_asking_notes_not_over_pairs() -> None:
    """A second copy of every pair tells nothing new."""
    twice = TestPool(NOTES, np.tile(POOL.sources, 2), np.tile(POOL.targets, 2), POOL.exposure, (), "data")
    measured = {"a": Measurement(method="a", about="", pool=twice.fingerprint, ranks=[*RANKS, *RANKS])}
    for k in (1, 10):
        doubled = Results(twice, measured, Bootstrap(draws=200)).recall(k)
        assert doubled.draws["a"] == pytest.approx(results(a=RANKS).recall(k).draws["a"])


def test_exposure_is_that_of_the_asking_note() -> None:
    parts = results(a=RANKS).by_exposure(1)
    assert [(part.low, part.high, part.pairs) for part in parts] == [(1, 2, 3), (5, 9, 3)]
    assert parts[1].recall.values["a"] == pytest.approx(1 / 3)  # note 0, with 9 interactions, asks twice, note 3 once


def test_category_share_is_a_mean_of_means() -> None:
    shares = [1.0, 0.0] * 5 + [1.0, 1.0]
    measured = Measurement(method="m", about="", pool=POOL.fingerprint, category_share=shares)
    compared = Results(POOL, {"m": measured}, Bootstrap(draws=100)).category_share()
    assert compared is not None
    assert compared.values["m"] == pytest.approx((1.0 + 1 / 6) / 2)
    assert compared.estimates()["m"].low <= compared.values["m"] <= compared.estimates()["m"].high


def test_measurements_are_kept_and_read_back(tmp_path: Path) -> None:
    hashtags = HashtagScores(metrics={"f1@3": [0.5, 1.0]}, bleu=3.5)
    measurement = Measurement(method="tf.idf-1", about="words", pool="p", ranks=RANKS, hashtags=hashtags)
    write_measurement(tmp_path, measurement)
    assert read_measurements(tmp_path, "p") == {"tf.idf-1": measurement}


def test_measurements_of_another_pool_are_refused(tmp_path: Path) -> None:
    write_measurement(tmp_path, Measurement(method="m", about="", pool="p"))
    with pytest.raises(EvaluationError, match=r"m\.json was measured on other data or with another split \(pool p, now q\)"):
        read_measurements(tmp_path, "q")
    (tmp_path / "m.json").write_text("{}")
    with pytest.raises(EvaluationError, match=r"is not a measurement .*: remove it and evaluate again"):
        read_measurements(tmp_path, "p")


def test_samples_must_be_the_same() -> None:
    scores = {name: HashtagScores(metrics={"f1@3": values}, bleu=0) for name, values in (("a", [1.0]), ("b", [1.0, 0.0]))}
    measured = {n: Measurement(method=n, about="", pool=POOL.fingerprint, hashtags=one) for n, one in scores.items()}
    with pytest.raises(EvaluationError, match="different samples of notes"):
        Results(POOL, measured).hashtags("f1@3")


def test_the_fingerprint_of_a_pool_changes_with_its_pairs() -> None:
    other = TestPool(NOTES, POOL.targets, POOL.sources, POOL.exposure, (), "data")
    assert other.fingerprint != POOL.fingerprint
