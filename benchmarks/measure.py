"""How benchmarks measure: ways of doing the same task take turns, and results are medians, spreads, and ratios within a round.

The speed of a machine drifts, so a ratio of two ways within one round is much more reliable than a rate.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

Content = dict[str, Any]
"""The measurements of a section of the report, as in its JSON file."""


@dataclass(frozen=True)
class Spread:
    """The spread of something that was measured several times."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def text(self, digits: int = 2, unit: str = "") -> str:
        """`median (least to most)`."""
        return f"{self.median:.{digits}f}{unit} ({self.least:.{digits}f} to {self.most:.{digits}f})"


def seconds(run: Callable[[], object]) -> float:
    """The seconds of one run."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def take_turns(ways: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Runs the ways in turn and returns the result of each way in each round.

    Each round begins with a different way, so that no way always runs after the same other one.
    """
    names = list(ways)
    measured: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            measured[name].append(ways[name]())
    return measured


def alternate(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """The seconds of each way in each round; the ways take turns as in `take_turns`."""
    return take_turns({name: partial(seconds, run) for name, run in ways.items()}, rounds)


def ratios(others: Sequence[float], reference: Sequence[float]) -> Spread:
    """How many times longer the others take, round by round."""
    return Spread.of([other / own for other, own in zip(others, reference, strict=True)])
