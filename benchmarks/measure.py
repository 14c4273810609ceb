"""How benchmarks measure: ways of doing the same in turn, their times as median and spread, and ratios within a round.

The machines drift: a rate is worth little, the ratio of two ways within one round a good deal more.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

Content = dict[str, Any]
"""What a section of the report has measured, as JSON holds it."""


@dataclass(frozen=True)
class Spread:
    """Of something measured several times."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def text(self, digits: int = 2, unit: str = "") -> str:
        """`median (least to most)`."""
        return f"{self.median:.{digits}f}{unit} ({self.least:.{digits}f} to {self.most:.{digits}f})"


def seconds(run: Callable[[], object]) -> float:
    """How long it takes, once."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def take_turns(ways: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each way measures of itself in each round.

    The rounds begin with different ways, so that none always runs behind the same one.
    """
    names = list(ways)
    measured: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            measured[name].append(ways[name]())
    return measured


def alternate(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way in each round, in turn as in `take_turns`."""
    return take_turns({name: partial(seconds, run) for name, run in ways.items()}, rounds)


def ratios(others: Sequence[float], reference: Sequence[float]) -> Spread:
    """How many times longer the others take, round by round."""
    return Spread.of([other / own for other, own in zip(others, reference, strict=True)])
