from pathlib import Path

import numpy as np
import pytest

from notellm import Note
from training.errors import EvaluationError
from training.evaluation.bootstrap import Bootstrap
from training.evaluation.comparison import Results
from training.evaluation.measurement import (
    HashtagScores,
    Measurement,
    read_measurements,
    remove_measurements,
    write_measurement,
)
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


def test_exposure_may_be_that_of_the_target() -> None:
    parts = results(a=RANKS).by_exposure(1, "target")
    assert [(part.low, part.high, part.pairs) for part in parts] == [(0, 1, 3), (2, 5, 2), (9, 9, 1)]
    assert parts[0].recall.values["a"] == pytest.approx(1 / 3)  # notes 1, 2 and 5 are targets once each


def test_runs_of_a_method_count_with_their_mean() -> None:
    measured = [
        Measurement(method="a", seed=seed, about="", pool=POOL.fingerprint, ranks=ranks)
        for seed, ranks in enumerate([[1.0] * 6, [9.0] * 6, [11.0] * 6])
    ]
    single = Measurement(method="b", about="", pool=POOL.fingerprint, ranks=RANKS)
    compared = Results(POOL, {one.key: one for one in (*measured, single)}, Bootstrap(draws=500))
    assert list(compared.methods) == ["a", "b"]
    recall = compared.recall(1)
    assert recall.values["a"] == pytest.approx(1 / 3)
    # Each run is the same for all notes, so that only the runs vary.
    estimate = recall.estimates()["a"]
    assert (estimate.low, estimate.high) == (0, 1)
    assert recall.draws["a"].var() == pytest.approx(1 / 3 * 2 / 3 / 3, rel=0.2)
    gap = recall.difference("a", "b")
    assert gap.value == pytest.approx(recall.values["a"] - recall.values["b"])
    assert compared.by_exposure(1)[0].recall.values["a"] == pytest.approx(1 / 3)


def test_pairs_with_copies_of_training_notes_can_be_left_out() -> None:
    training = (Note(id="t", title="NOTE  3 "), Note(id="u", title="note"))
    pool = TestPool(NOTES, POOL.sources, POOL.targets, POOL.exposure, training, "data")
    assert np.flatnonzero(pool.copies).tolist() == [3]
    measured = {"a": Measurement(method="a", about="", pool=pool.fingerprint, ranks=RANKS)}
    recall = Results(pool, measured, Bootstrap(draws=50)).recall_without_copies(10)
    assert recall.values["a"] == pytest.approx(3 / 4)  # without 2 → 3 and 3 → 4


def test_recall_within_a_category_is_over_the_pairs_of_one_category() -> None:
    assert np.flatnonzero(POOL.one_category).tolist() == [1]
    measured = {
        "a": Measurement(method="a", about="", pool=POOL.fingerprint, ranks=RANKS, within_category=[2.0]),
        "b": Measurement(method="b", about="", pool=POOL.fingerprint, ranks=RANKS),
    }
    compared = Results(POOL, measured, Bootstrap(draws=50))
    within = compared.recall_within_category(1)
    assert within is not None
    assert within.values == {"a": 0.0}
    assert results(a=RANKS).recall_within_category(1) is None


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


def test_each_seed_has_its_file_until_the_method_is_measured_anew(tmp_path: Path) -> None:
    kept = [Measurement(method="m", seed=seed, about="", pool="p") for seed in (0, 7)]
    other = Measurement(method="m2", about="", pool="p")
    for one in (*kept, other):
        write_measurement(tmp_path, one)
    assert read_measurements(tmp_path, "p", ["m2", "m"]) == {"m2": other, "m.seed0": kept[0], "m.seed7": kept[1]}
    remove_measurements(tmp_path, "m")
    assert list(read_measurements(tmp_path, "p")) == ["m2"]


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
