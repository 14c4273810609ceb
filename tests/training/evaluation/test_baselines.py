from collections.abc import Callable
from pathlib import Path

import pytest

from training.config import TrainingConfig
from training.data import load_dataset
from training.evaluation.baselines import ABOUT, Baseline, measure_baseline
from training.evaluation.pool import TestPool

DOCUMENTED = Path("docs/evaluation.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("one", Baseline)
def test_each_baseline_is_documented(one: Baseline) -> None:
    assert f"`{one}`" in DOCUMENTED


@pytest.mark.parametrize(
    ("one", "about"),
    [
        (Baseline.WORDS_LINEAR, "words: TF-IDF and SVD to "),
        (Baseline.TOKENS_LINEAR, "ids of the base model's tokens, lower-cased text: TF-IDF and SVD to "),
        (Baseline.POPULARITY, ABOUT[Baseline.POPULARITY]),
    ],
)
def test_a_measurement_says_what_was_done(one: Baseline, about: str, run_config: Callable[..., TrainingConfig]) -> None:
    settings = run_config()
    dataset = load_dataset(settings.data)
    pool = TestPool.of(dataset)
    measured = measure_baseline(one, settings, dataset, pool, 5)
    assert measured.method == one
    assert measured.about.startswith(about)
    assert measured.ranks is not None
    assert len(measured.ranks) == len(pool.sources)
    assert measured.within_category is None


def test_popularity_is_said_not_to_be_known() -> None:
    assert "not known for a new note" in ABOUT[Baseline.POPULARITY]
