import pytest

from training.evaluation.hashtags import calibration_error, score_hashtags


def test_identical_lists_are_perfect() -> None:
    tags = [("cold brew", "coffee", "grinder"), ("beer",), ("量子", "qubit")]
    scores = score_hashtags(tags, tags)
    assert scores.bleu == pytest.approx(100)
    for name in ("precision@1", "precision@3", "recall@3", "f1@3", "rouge-1", "rouge-L"):
        assert scores.metrics[name] == [1, 1, 1], name
    assert scores.metrics["rouge-2"] == [1, 0, 1]  # one word has no pair of words


def test_counts_by_hand() -> None:
    scores = score_hashtags([("Cold Brew", "tea", "beans"), (), ("x",)], [("coldbrew", "coffee"), ("tea",), ("y",)])
    assert scores.metrics["precision@1"] == [1, 0, 0]
    assert scores.metrics["precision@3"] == pytest.approx([1 / 3, 0, 0], abs=1e-6)
    assert scores.metrics["recall@1"] == [0.5, 0, 0]
    assert scores.metrics["recall@3"] == [0.5, 0, 0]
    assert scores.metrics["f1@3"] == pytest.approx([0.4, 0, 0])


def test_rouge_is_that_of_its_definition() -> None:
    """Words `cold brew, coffee` against `cold coffee`: two of two found, two of three."""
    scores = score_hashtags([("cold", "coffee")], [("cold brew", "coffee")])
    assert scores.metrics["rouge-1"] == pytest.approx([2 * (2 / 2) * (2 / 3) / (2 / 2 + 2 / 3)])
    assert scores.metrics["rouge-2"] == [0]
    assert scores.metrics["rouge-L"] == scores.metrics["rouge-1"]
    turned = score_hashtags([("coffee", "cold")], [("cold brew", "coffee")])
    assert turned.metrics["rouge-1"] == scores.metrics["rouge-1"]
    assert turned.metrics["rouge-L"] == pytest.approx([2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3)])


def test_scripts_without_spaces_count() -> None:
    assert score_hashtags([("咖啡",)], [("咖啡", "旅行")]).metrics["rouge-1"] == pytest.approx([2 / 3], abs=1e-6)


def test_calibration_error_is_the_mean_gap_of_the_bins() -> None:
    assert calibration_error([0.9, 0.9, 0.1, 0.1], [True, True, False, False]) == pytest.approx(0.1)
    # Two bins: 0.75 sure and right half of the time, 0.05 sure and never right.
    assert calibration_error([0.75, 0.75, 0.05, 0.05], [True, False, False, False]) == pytest.approx((0.25 + 0.05) / 2)
    assert calibration_error([1.0, 0.0], [True, False]) == 0
    # Errors of one bin cancel: 0.72 and 0.78 on average 0.75.
    assert calibration_error([0.72, 0.78, 0.72, 0.78], [True, True, True, False]) == pytest.approx(0)
