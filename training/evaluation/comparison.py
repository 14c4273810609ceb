"""`Results`: all measurements on a pool, compared with the same bootstrap draws."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from training.errors import EvaluationError
from training.evaluation.bootstrap import Bootstrap, Comparison, Floats
from training.evaluation.measure import category_share_notes
from training.evaluation.measurement import HashtagScores, Measurement
from training.evaluation.pool import TestPool
from training.ranking import Ranks

RECALL_AT = (1, 10, 100, 1_000, 10_000)
EXPOSURE_AT = 100
QUANTILES = 4


@dataclass(frozen=True)
class Exposure:
    """recall@k over the pairs whose query note has between `low` and `high` interactions, and the number of these pairs."""

    low: int
    high: int
    pairs: int
    recall: Comparison


@dataclass(frozen=True)
class Results:
    """The results that the report shows.

    Args:
        pool: the pool of all measurements.
        measurements: the measurements by method.
        bootstrap: the draws.
    """

    pool: TestPool
    measurements: Mapping[str, Measurement]
    bootstrap: Bootstrap = field(default_factory=Bootstrap)

    @property
    def ranks(self) -> dict[str, Ranks]:
        """The rank of each pair, by method, for methods that rank notes."""
        return {name: np.array(one.ranks) for name, one in self.measurements.items() if one.ranks is not None}

    @property
    def cuts(self) -> tuple[int, ...]:
        """The values of k below the number of ranked notes; for all others, recall@k is always 1."""
        return tuple(k for k in RECALL_AT if k < len(self.pool.notes) - 1)

    def recall(self, k: int) -> Comparison:
        """Share of the pairs whose target is among the first k. Query notes are drawn, each with all its pairs."""
        return self.bootstrap.compare({name: found(ranks, k) for name, ranks in self.ranks.items()}, self.pool.sources)

    def reciprocal_rank(self) -> Comparison:
        """The mean reciprocal rank (MRR)."""
        return self.bootstrap.compare({name: 1 / ranks for name, ranks in self.ranks.items()}, self.pool.sources)

    def by_exposure(self, k: int) -> list[Exposure]:
        """recall@k by quantiles of the query note's interactions. Quantiles with equal bounds are merged."""
        interactions = self.pool.exposure[self.pool.sources]
        edges = np.unique(np.quantile(interactions, np.linspace(0, 1, QUANTILES + 1), method="inverted_cdf"))
        values = {name: found(ranks, k) for name, ranks in self.ranks.items()}
        parts = []
        for part, (low, high) in enumerate(pairwise(edges)):
            chosen = (interactions >= low if part == 0 else interactions > low) & (interactions <= high)
            if chosen.any():
                recall = self.bootstrap.compare(values, self.pool.sources, chosen)
                lowest, highest = int(interactions[chosen].min()), int(interactions[chosen].max())
                parts.append(Exposure(lowest, highest, int(chosen.sum()), recall))
        return parts

    def hashtags(self, metric: str) -> Comparison | None:
        """A hashtag metric; notes are drawn. None if no method suggests hashtags."""
        return self._over_notes({name: one.metrics[metric] for name, one in self.hashtag_scores.items()})

    @property
    def hashtag_scores(self) -> dict[str, HashtagScores]:
        """The scores of each way to suggest hashtags; a model may have two."""
        scores: dict[str, HashtagScores] = {}
        for name, one in self.measurements.items():
            if one.hashtags:
                scores[name] = one.hashtags
            if one.ranked_hashtags:
                scores[f"{name}, ranked"] = one.ranked_hashtags
        return scores

    def categories(self, metric: str) -> Comparison | None:
        """`accuracy`, `illusion` or `constrained_accuracy`; notes are drawn."""
        return self._over_notes({n: getattr(one.categories, metric) for n, one in self.measurements.items() if one.categories})

    def category_share(self) -> Comparison | None:
        """Share of the first ten neighbours that have the query note's category: mean over categories of the mean over notes."""
        shares = {n: np.array(one.category_share) for n, one in self.measurements.items() if one.category_share}
        if not shares:
            return None
        names = np.array([note.category for note in category_share_notes(self.pool)])
        places = np.arange(len(names))
        parts = [self.bootstrap.compare(shares, places, names == name) for name in np.unique(names)]
        return Comparison(
            {name: float(np.mean([part.values[name] for part in parts])) for name in shares},
            {name: np.mean([part.draws[name] for part in parts], axis=0) for name in shares},
        )

    def _over_notes(self, values: Mapping[str, list[float]]) -> Comparison | None:
        if not values:
            return None
        if len({len(one) for one in values.values()}) > 1:
            raise EvaluationError(
                "methods were measured on different samples of notes: evaluate all of them again with the same --generated-notes"
            )
        columns = {name: np.array(one) for name, one in values.items()}
        return self.bootstrap.compare(columns, np.arange(len(next(iter(columns.values())))))


def found(ranks: Ranks, k: int) -> Floats:
    """1 for each target among the first k, else 0."""
    return (ranks <= k).astype(np.float64)
