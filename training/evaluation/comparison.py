"""`Results`: all measurements on a pool, compared with the same bootstrap draws."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np

from training.errors import EvaluationError
from training.evaluation.bootstrap import Bootstrap, Comparison, Estimate, Floats
from training.evaluation.measure import category_share_notes
from training.evaluation.measurement import HashtagScores, Measurement, OwnPool
from training.evaluation.pool import TestPool
from training.ranking import Ranks

RECALL_AT = (1, 10, 100, 1_000, 10_000)
EXPOSURE_AT = 100
QUANTILES = 4
Side = Literal["asking", "target"]


@dataclass(frozen=True)
class Exposure:
    """recall@k over the pairs of which one note has between `low` and `high` interactions, and the number of these pairs."""

    low: int
    high: int
    pairs: int
    recall: Comparison


@dataclass(frozen=True)
class Results:
    """The results that the report shows.

    Args:
        pool: the pool of all measurements.
        measurements: the measurements by key. Those of the runs of one method count as one method, with the mean of the runs.
        bootstrap: the draws.
    """

    pool: TestPool
    measurements: Mapping[str, Measurement]
    bootstrap: Bootstrap = field(default_factory=Bootstrap)

    @cached_property
    def methods(self) -> dict[str, list[Measurement]]:
        """The measurements of each method: one, or one for each seed."""
        methods: dict[str, list[Measurement]] = {}
        for one in self.measurements.values():
            methods.setdefault(one.method, []).append(one)
        return methods

    @property
    def ranks(self) -> dict[str, Ranks]:
        """The rank of each pair, (runs, pairs), for methods that rank notes."""
        return {name: np.array(kept) for name, runs in self.methods.items() if (kept := [r.ranks for r in runs if r.ranks])}

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

    def recall_without_copies(self, k: int) -> Comparison:
        """The same over the pairs of which neither note's text is in the training part.

        Raises:
            EvaluationError: there is no such pair.
        """
        values = {name: found(ranks, k) for name, ranks in self.ranks.items()}
        return self.bootstrap.compare(values, self.pool.sources, self.pool.without_copies)

    def recall_within_category(self, k: int) -> Comparison | None:
        """The same among the notes of the query note's category, over the pairs of one category. None if it was not measured."""
        ranks = {
            name: np.array(kept)
            for name, runs in self.methods.items()
            if (kept := [run.within_category for run in runs if run.within_category])
        }
        values = {name: found(one, k) for name, one in ranks.items()}
        return self.bootstrap.compare(values, self.pool.sources[self.pool.one_category]) if values else None

    def own_pools(self) -> dict[str, OwnPool]:
        """The methods that were measured on pools of their own. They are in no comparison."""
        return {name: run.own_pool for name, runs in self.methods.items() for run in runs if run.own_pool}

    def recall_in(self, name: str, own: OwnPool, k: int) -> Estimate:
        """recall@k in a method's own pool; its query notes are drawn."""
        ranks = np.array(own.ranks)
        return self.bootstrap.compare({name: found(ranks, k)}, np.array(own.sources)).estimates()[name]

    def by_exposure(self, k: int, side: Side = "asking") -> list[Exposure]:
        """recall@k by quantiles of the interactions of the query note, or of the target. Quantiles with equal bounds are merged."""
        interactions = self.pool.exposure[self.pool.sources if side == "asking" else self.pool.targets]
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
        return self._over_notes({name: [one.metrics[metric] for one in runs] for name, runs in self.hashtag_scores.items()})

    @property
    def hashtag_scores(self) -> dict[str, list[HashtagScores]]:
        """The scores of each run of each way to suggest hashtags; a model may have three ways."""
        scores: dict[str, list[HashtagScores]] = {}
        for name, runs in self.methods.items():
            scores[name] = [run.hashtags for run in runs if run.hashtags]
            scores[f"{name}, ranked"] = [run.ranked_hashtags for run in runs if run.ranked_hashtags]
            scores[f"{name}, with the index"] = [run.indexed_hashtags for run in runs if run.indexed_hashtags]
        return {name: kept for name, kept in scores.items() if kept}

    def arriving(self, metric: str) -> Comparison | None:
        """`f1`, `unseen` or `reach` of hashtags as notes arrive; notes are drawn. None if it was not measured."""
        found = {
            name: kept
            for name, runs in self.methods.items()
            if (kept := [one for run in runs if run.arriving_hashtags and (one := getattr(run.arriving_hashtags, metric))])
        }
        return self._over_notes(found)

    def categories(self, metric: str) -> Comparison | None:
        """`accuracy`, `illusion` or `constrained_accuracy`; notes are drawn."""
        found = {n: [getattr(run.categories, metric) for run in runs if run.categories] for n, runs in self.methods.items()}
        return self._over_notes({name: scores for name, scores in found.items() if scores})

    def category_share(self) -> Comparison | None:
        """Share of the first ten neighbours that have the query note's category: mean over categories of the mean over notes."""
        shares = {
            name: np.array(kept)
            for name, runs in self.methods.items()
            if (kept := [run.category_share for run in runs if run.category_share])
        }
        if not shares:
            return None
        names = np.array([note.category for note in category_share_notes(self.pool)])
        places = np.arange(len(names))
        parts = [self.bootstrap.compare(shares, places, names == name) for name in np.unique(names)]
        return Comparison(
            {name: float(np.mean([part.values[name] for part in parts])) for name in shares},
            {name: np.mean([part.draws[name] for part in parts], axis=0) for name in shares},
        )

    def _over_notes(self, values: Mapping[str, list[list[float]]]) -> Comparison | None:
        if not values:
            return None
        if len({len(run) for runs in values.values() for run in runs}) > 1:
            raise EvaluationError(
                "methods were measured on different samples of notes: evaluate all of them again with the same --generated-notes"
            )
        columns = {name: np.array(runs) for name, runs in values.items()}
        return self.bootstrap.compare(columns, np.arange(next(iter(columns.values())).shape[1]))


def found(ranks: Ranks, k: int) -> Floats:
    """1 for each target among the first k, else 0."""
    return (ranks <= k).astype(np.float64)
