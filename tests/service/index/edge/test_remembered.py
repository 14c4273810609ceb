"""What is costly to count is not counted again and again."""

import pytest

from service.index.edge.remembered import Remembered


@pytest.fixture(autouse=True)
def _counted_anew() -> None:
    """Not here: other tests are kept from what these are about."""


class Counting:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.now = 0.0
        self.number = 0
        self.times = 0

    def clock(self) -> float:
        return self.now

    def count(self) -> int:
        self.times += 1
        self.now += self.seconds
        return self.number


def test_what_is_quick_is_always_new() -> None:
    counting = Counting(0.0005)
    remembered = Remembered(counting.count, counting.clock)
    for number in range(5):
        counting.number = number
        assert remembered.value() == number


def test_what_is_slow_takes_a_hundredth_of_the_time() -> None:
    counting = Counting(0.5)
    remembered = Remembered(counting.count, counting.clock)
    for _ in range(1000):
        remembered.value()
        counting.now += 0.2
    assert counting.times == 4  # in 200 s, 50 lie between two of them
    counting.number = 7
    counting.now += 50
    assert remembered.value() == 7
