"""Bootstrap intervals for means over observations that come in groups.

The pairs of one query note are not independent of each other. Query notes are therefore drawn with replacement, each with all its
pairs (cluster bootstrap). All columns use the same draws, so that differences between columns are paired comparisons.

Of a method that was trained several times, the runs are drawn with replacement too. Of few runs this gives somewhat too narrow intervals:
the variance between n runs is taken for (n - 1) / n of what it is.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from training.errors import EvaluationError

Floats = npt.NDArray[np.float64]
_DRAWS_AT_A_TIME = 100
_INTERVAL = (2.5, 97.5)


class Estimate(BaseModel):
    """A value with the 95% percentile interval of its bootstrap draws."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, draws: Floats) -> "Estimate":
        """The interval of `draws`, (draws,)."""
        low, high = np.percentile(draws, _INTERVAL)
        return cls(value=float(value), low=float(low), high=float(high))

    def __str__(self) -> str:
        return f"{self.value:.4f} ({self.low:.4f} to {self.high:.4f})"


@dataclass(frozen=True)
class Bootstrap:
    """The number of draws and their seed."""

    draws: int = 1000
    seed: int = 0

    def totals(self, columns: Floats) -> Floats:
        """Sums over drawn units.

        Args:
            columns: (units, columns), what each unit adds to each sum.

        Returns:
            (draws, columns). The draws depend only on the seed and the number of units.
        """
        random = np.random.default_rng(self.seed)
        units = len(columns)
        sums: list[Floats] = []
        for start in range(0, self.draws, _DRAWS_AT_A_TIME):
            drawn = random.integers(units, size=(min(_DRAWS_AT_A_TIME, self.draws - start), units))
            times = np.stack([np.bincount(row, minlength=units) for row in drawn]).astype(np.float64)
            sums.append(times @ columns)
        return np.concatenate(sums)

    def compare(
        self, values: dict[str, Floats], units: npt.NDArray[np.int64], chosen: npt.NDArray[np.bool_] | None = None
    ) -> "Comparison":
        """Means of several methods over the same observations.

        Args:
            values: by method, (observations,), or (runs, observations) of a method with several runs, which counts with their mean.
            units: (observations,), the unit of each observation; all observations of a unit are drawn together.
            chosen: (observations,), whether to average over each observation; by default all.

        Raises:
            EvaluationError: no observation is chosen.
        """
        chosen = np.ones(len(units), dtype=bool) if chosen is None else chosen
        if not chosen.any():
            raise EvaluationError("nothing to average over: the pool has no pair or no note of that kind")
        _, place = np.unique(units[chosen], return_inverse=True)
        runs = {name: np.atleast_2d(method)[:, chosen] for name, method in values.items()}
        columns = [np.bincount(place, weights=run) for method in runs.values() for run in method]
        sums = self.totals(np.column_stack([*columns, np.bincount(place)]))
        means = iter((sums[:, :-1] / sums[:, -1:]).T)
        draws = {name: np.stack([next(means) for _ in method], axis=1) for name, method in runs.items()}
        return Comparison(
            {name: float(method.mean()) for name, method in runs.items()},
            {name: (one * self._shares_of_runs(name, one.shape[1])).sum(axis=1) for name, one in draws.items()},
        )

    def _shares_of_runs(self, method: str, runs: int) -> Floats:
        """How often each of a method's runs is drawn, (draws, runs), rows sum to 1. Runs of two methods are drawn independently."""
        random = np.random.default_rng([self.seed, zlib.crc32(method.encode())])
        return random.multinomial(runs, np.full(runs, 1 / runs), size=self.draws) / runs


@dataclass(frozen=True)
class Comparison:
    """One metric for several methods: its value by method, and its value in each draw."""

    values: dict[str, float]
    draws: dict[str, Floats]

    def estimates(self) -> dict[str, Estimate]:
        """Each method with its interval."""
        return {name: Estimate.of(value, self.draws[name]) for name, value in self.values.items()}

    def difference(self, method: str, other: str) -> Estimate:
        """`method` minus `other`, paired: both use the same draws."""
        return Estimate.of(self.values[method] - self.values[other], self.draws[method] - self.draws[other])

    def differences(self) -> dict[str, dict[str, Estimate]]:
        """Each method minus each other method."""
        names: Sequence[str] = list(self.values)
        return {one: {other: self.difference(one, other) for other in names if other != one} for one in names}
