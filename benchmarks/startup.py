"""How long `notellm-serve` takes to become ready, with the checkpoint in the disk cache, and which steps take the time.

.venv/bin/python -m benchmarks.speed checkpoints/demo docs/results/speed --only startup
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Content, Spread
from harness.service import running_service

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Start"
RUNS, QUICK_RUNS = 5, 1


def measure(checkpoint: Path, *, quick: bool) -> Content:
    """See `benchmarks.speed.Section`."""
    runs = QUICK_RUNS if quick else RUNS
    size = sum(file.stat().st_size for file in checkpoint.rglob("*") if file.is_file())
    _start(checkpoint)  # warms the disk
    ready, phases = [], []
    for number in range(runs):
        print(f"start {number + 1} of {runs}", flush=True)
        ready.append(_start(checkpoint))
        phases.append(_phases_apart(checkpoint))
    return {"ready": ready, "phases": phases, "megabytes": size / 1e6}


def markdown(content: Content) -> str:
    """See `benchmarks.speed.Section`."""
    phases = _medians(content)
    total = sum(phases.values())
    rows = "\n".join(f"| {name} | {seconds:.2f} | {seconds / total:.0%} |" for name, seconds in phases.items())
    most = max(phases, key=lambda name: phases[name])
    return (
        f"From the start of the process to the first 200 of `/health/ready`: **{Spread.of(content['ready']).text(1)} s** "
        f"(starts measured: {len(content['ready'])}; `engine=local`, the checkpoint's {content['megabytes']:.0f} MB in the disk cache, an "
        "empty index).\n\nThe table has the same steps, run one after the other in a process that measures them. Most of the time goes "
        f"into: {most}.\n\n| step | seconds | share |\n|---|---|---|\n{rows}"
    )


def figures(content: Content) -> "dict[str, Figure]":
    """See `benchmarks.speed.Section`."""
    from matplotlib import pyplot as plt  # noqa: PLC0415 -- the report's alone

    figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
    left = 0.0
    for name, seconds in _medians(content).items():
        axes.barh(["start"], [seconds], left=[left], label=name)
        left += seconds
    axes.set(xlabel="seconds")
    figure.legend(ncols=2, fontsize="small", loc="outside lower center")
    return {"startup": figure}


def _medians(content: Content) -> dict[str, float]:
    phases: list[dict[str, float]] = content["phases"]
    return {name: statistics.median(run[name] for run in phases) for name in phases[0]}


def _start(checkpoint: Path) -> float:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        with running_service(checkpoint, Path(folder)):
            return time.perf_counter() - start


def _phases_apart(checkpoint: Path) -> dict[str, float]:
    """Measures the steps in a fresh interpreter, because imports and caches count."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.startup_steps", str(checkpoint)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 -- a module beside this one
    taken: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {"interpreter, its start and end": max(0.0, time.perf_counter() - start - sum(taken.values()))} | taken
