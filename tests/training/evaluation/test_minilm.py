"""Which learning rate MiniLM is fine-tuned with. tests/integration/test_minilm.py trains the real one."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from training.config import TrainingConfig
from training.data import load_dataset
from training.evaluation.minilm import FineTunedMiniLM, FineTuning


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, float]]:
    """The pairs, epochs and rates of the trials. The model of a trial is its rate, and the best recall is that of the rate 1e-4."""
    done: list[tuple[int, int, float]] = []

    def trained(self: Any, pairs: Sequence[Any], epochs: int, rate: float, *, keep_best: bool) -> float:
        done.append((len(pairs), epochs, rate))
        assert not keep_best
        return rate

    monkeypatch.setattr(FineTunedMiniLM, "_trained", trained)
    monkeypatch.setattr(FineTunedMiniLM, "_recall", lambda self, pool, rate: 1 - abs(rate - 1e-4))
    return done


def test_the_learning_rate_is_chosen_in_short_trials(
    trials: list[tuple[int, int, float]], run_config: Callable[..., TrainingConfig]
) -> None:
    tuned = FineTunedMiniLM(load_dataset(run_config().data), FineTuning(max_pairs=40, trial_pairs=15))
    assert "40 training pairs, symmetric loss, co-occurring notes masked, learning rate 0.0001 of 2e-05, 5e-05" in tuned.about
    assert "best epoch by recall@" in tuned.about
    assert trials == [(14, 1, rate) for rate in FineTuning().learning_rates]


def test_there_is_nothing_to_choose_by_without_validation(
    trials: list[tuple[int, int, float]], run_config: Callable[..., TrainingConfig]
) -> None:
    dataset = load_dataset(run_config(data__split={"validation": 0, "test": 0.2}).data)
    tuned = FineTunedMiniLM(dataset, FineTuning(max_pairs=40, learning_rates=(3e-5, 1e-4)))
    assert tuned.learning_rate == pytest.approx(3e-5)
    assert "learning rate 3e-05, last epoch" in tuned.about
    assert not trials
