"""The mean of weights, step by step; whole runs with it are in test_run.py and test_distributed.py."""

import pytest
import torch
from torch import nn

from training.loop.average import WeightAverage


class Two(nn.Module):
    """One weight that is trained, and one that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.trained, self.frozen = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1), requires_grad=False)


def after(steps: int, share: float, values: list[float]) -> tuple[WeightAverage, Two]:
    """The mean after some steps of a run; the trained weight has each value in turn."""
    trained = Two()
    average = WeightAverage(trained, steps, share)
    for step, value in enumerate(values, start=1):
        nn.init.constant_(trained.trained, value)
        average.add(step)
    return average, trained


@pytest.mark.parametrize(("share", "expected"), [(0.5, 7.0), (1.0, 4.75), (0.25, 9.0), (0.1, 9.0), (0.75, 6.0)])
def test_it_is_the_mean_over_the_last_steps(share: float, expected: float) -> None:
    average, _ = after(4, share, [1.0, 4.0, 5.0, 9.0])
    assert average.mean.keys() == {"trained"}  # frozen weights have no mean
    assert average.mean["trained"].item() == pytest.approx(expected)


def test_without_a_share_there_is_no_mean() -> None:
    average, trained = after(4, 0.0, [1.0, 4.0, 5.0, 9.0])
    assert average.mean == {}
    with average.applied():
        assert trained.trained.item() == 9


def test_the_model_has_the_mean_for_a_while() -> None:
    average, trained = after(4, 0.5, [1.0, 4.0, 5.0, 9.0])
    with average.applied():
        assert trained.trained.item() == pytest.approx(7.0)
    assert trained.trained.item() == 9
    assert average.mean["trained"].item() == pytest.approx(7.0)


def test_a_mean_that_was_loaded_goes_on() -> None:
    average, trained = after(4, 0.75, [])
    assert average.to_load(1) == {}
    torch.nn.init.constant_(average.to_load(3)["trained"], 4.5)  # of 4 and 5
    nn.init.constant_(trained.trained, 9.0)
    average.add(4)
    assert average.mean["trained"].item() == pytest.approx(6.0)
