"""The report's figures."""

from pathlib import Path
from typing import Any

import numpy as np

from training.evaluation.comparison import EXPOSURE_AT, Results, found
from training.evaluation.packages import evaluation_package


def write_plots(results: Results, directory: Path) -> dict[str, Path]:
    """Writes the figures as PNG files, and returns the files by what they show."""
    evaluation_package("matplotlib").use("Agg")
    figures = {"recall@k": _recall(results), "recall by exposure": _by_exposure(results), "training": _curves(results)}
    paths = {}
    for name, figure in figures.items():
        if figure is not None:
            paths[name] = directory / f"{name.replace('@', '-at-').replace(' ', '-')}.png"
            figure.savefig(paths[name], dpi=110, metadata={"Software": None})
            evaluation_package("matplotlib.pyplot").close(figure)
    return paths


def _axes(columns: int = 1) -> tuple[Any, Any]:
    return evaluation_package("matplotlib.pyplot").subplots(1, columns, figsize=(6.5 * columns, 4.5), layout="constrained")  # type: ignore[no-any-return]


def _recall(results: Results) -> Any | None:
    if not results.ranks:
        return None
    figure, axes = _axes()
    size = len(results.pool.notes) - 1
    cuts = np.unique(np.geomspace(1, size, 60).astype(int))
    for name, ranks in results.ranks.items():
        axes.plot(cuts, [found(ranks, k).mean() for k in cuts], label=name)
    axes.set(xscale="log", xlabel="k", ylabel="recall@k", title=f"{len(results.pool.sources):,} pairs, {size + 1:,} notes")
    axes.legend()
    axes.grid(alpha=0.3)
    return figure


def _by_exposure(results: Results) -> Any | None:
    if not results.ranks:
        return None
    k = EXPOSURE_AT if EXPOSURE_AT in results.cuts else results.cuts[-1]
    parts = results.by_exposure(k)
    if len(parts) <= 1:
        return None
    figure, axes = _axes()
    places = np.arange(len(parts))
    names = list(parts[0].recall.values)
    for offset, name in enumerate(names):
        estimates = [part.recall.estimates()[name] for part in parts]
        values = np.array([one.value for one in estimates])
        spread = np.array([[one.value - one.low for one in estimates], [one.high - one.value for one in estimates]])
        width = 0.8 / len(names)
        axes.bar(places + offset * width, values, width, yerr=spread, label=name, error_kw={"linewidth": 0.8})
    axes.set(xlabel="interactions of the asking note", ylabel=f"recall@{k}")
    axes.set_xticks(places + 0.4 - 0.4 / len(names), [f"{part.low} to {part.high}" for part in parts])
    axes.legend(fontsize="small")
    return figure


def _curves(results: Results) -> Any | None:
    """Loss and validation recall of the trained methods."""
    trained = {name: one.curve for name, one in results.measurements.items() if one.curve}
    if not trained:
        return None
    figure, (losses, recalls) = _axes(2)
    for name, curve in trained.items():
        for axes, field in ((losses, "loss"), (recalls, "validation_recall")):
            points = [(point.step, getattr(point, field)) for point in curve if getattr(point, field) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), label=name, marker="." if axes is recalls else None)
    losses.set(xlabel="step", ylabel="loss")
    recalls.set(xlabel="step", ylabel="validation recall")
    losses.legend()
    return figure
