"""Draws the results of a soak test: requests, statuses, memory and descriptors over time, with faults as bands.

NOTELLM_TEST_SOAK_SECONDS=1800 NOTELLM_TEST_SOAK_REPORT=docs/results/reliability/soak.json python -m pytest -m faults tests/soak
python -m benchmarks.soak_plot docs/results/reliability/soak.json     # writes soak.png beside it
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

Json = dict[str, Any]

EMBEDDED, SERVER = "embedded", "Qdrant"
COLORS = {
    "SIGKILL": "black", "SIGTERM": "dimgray", "SIGSTOP": "tab:purple", "full disk": "tab:brown", "burst": "tab:orange",
    "hang-ups": "tab:cyan", "hostile bodies": "tab:olive", "key rotation": "tab:green", "Qdrant refuses": "tab:red",
    "Qdrant hangs": "tab:pink",
}  # fmt: skip
OPERATIONS = {"live", "metrics"}


def bands(axis: Axes, windows: list[list[Any]], service: str) -> None:
    """Shades the faults of one service. An end of a process covers the full height, a small fault only the foot."""
    for name, kind, begun, ended in windows:
        if name == service:
            height = 1.0 if kind in {"SIGKILL", "SIGTERM", "Qdrant refuses", "Qdrant hangs"} else 0.08
            axis.axvspan(begun, max(ended, begun + 1), ymax=height, color=COLORS[kind], alpha=0.35, linewidth=0)


def draw_requests(axis: Axes, series: Json) -> None:
    """Answered requests per second, by kind."""
    times = np.arange(len(next(iter(series["requests a second"].values())))) * series["bin seconds"]
    kinds = {kind: rates for kind, rates in series["requests a second"].items() if kind not in OPERATIONS}
    axis.stackplot(times, list(kinds.values()), labels=list(kinds), step="post")
    axis.set(ylabel="requests/s")
    axis.legend(fontsize=6, ncols=2, loc="upper right")


def draw_statuses(axis: Axes, series: Json) -> None:
    """Answers with a status other than the successful ones."""
    for status, counts in series["statuses"].items():
        times = np.arange(len(counts)) * series["bin seconds"]
        axis.plot(times, np.where(np.array(counts) > 0, counts, np.nan), ".", markersize=4, label=status)
    axis.set(ylabel="of status", yscale="log")
    axis.legend(fontsize=6, ncols=3, loc="upper right")


def draw_samples(axis: Axes, services: Json, measure: str, label: str) -> None:
    """A measure of the processes of both services, one line per process."""
    for color, (name, series) in zip(("tab:blue", "tab:red"), services.items(), strict=False):
        lives: dict[int, list[tuple[float, float]]] = defaultdict(list)
        samples = series["samples"]
        for at, life, value in zip(samples["at"], samples["life"], samples[measure], strict=True):
            lives[life].append((at, value))
        for number, points in enumerate(lives.values()):
            axis.plot(*np.array(points).T, color=color, linewidth=0.8, label=None if number else f"service, {name}")
    axis.set(ylabel=label, ylim=(0, None))
    axis.legend(fontsize=6, loc="lower right")


def draw(found: Json) -> Figure:
    """Draws the figure."""
    series = found["series"]
    services = series["services"]
    figure, axes = plt.subplots(5, 1, figsize=(11, 12), sharex=True, layout="constrained")
    for axis, draws, name in zip(
        axes, (draw_requests, draw_statuses, draw_statuses), (EMBEDDED, EMBEDDED, SERVER), strict=False
    ):
        draws(axis, services[name])
        bands(axis, series["windows"], name)
        axis.set_title(f"service, {name}", fontsize=8)
    draw_samples(axes[3], services, "anonymous MiB", "anonymous memory, MiB")
    draw_samples(axes[4], services, "descriptors", "file descriptors")
    for axis in axes[3:]:
        bands(axis, series["windows"], EMBEDDED)
    axes[-1].set(xlabel="seconds", xlim=(0, found["seconds"]))
    present = {kind for _, kind, *_ in series["windows"]}
    patches = [Rectangle((0, 0), 1, 1, color=color, alpha=0.35) for kind, color in COLORS.items() if kind in present]
    figure.legend(patches, [kind for kind in COLORS if kind in present], loc="outside lower center", ncols=5, fontsize=7)
    return figure


def main() -> None:
    """Reads a report and writes the picture beside it."""
    mpl.use("Agg")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    path: Path = parser.parse_args().report
    draw(json.loads(path.read_text(encoding="utf-8"))).savefig(path.with_suffix(".png"), dpi=100, metadata={"Software": None})


if __name__ == "__main__":
    main()
