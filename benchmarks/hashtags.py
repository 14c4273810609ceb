"""Section `hashtags`: how many notes per second get hashtags and a category from each engine, and how soon the first hashtag arrives."""

import asyncio
import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.measure import Content, Spread, ratios
from benchmarks.suggesters import (
    IN_PROCESS,
    KINDS,
    RANKED,
    REMOTE,
    TRANSFORMERS,
    WRITTEN,
    Suggester,
    in_parallel,
    note_supply,
    open_suggesters,
)
from notellm import NoteText
from service.engines import usable_cores

TITLE = "Hashtags: engines"
COUNT = 3
ENGINES = (TRANSFORMERS, IN_PROCESS, REMOTE)
# Number of rounds by the number of concurrent notes; with many notes a single round is less noisy. It takes 15 minutes on 2 cores.
ROUNDS = {WRITTEN: {1: 3, 4: 3, 16: 2, 64: 2}, RANKED: {1: 3, 4: 3, 16: 2, 64: 1}}
QUICK_ROUNDS = {WRITTEN: {1: 1, 4: 1}, RANKED: {1: 1}}
LEAST_NOTES = 2


@dataclass
class Cell:
    """Results of one engine at one concurrency, one value per round.

    Attributes:
        seconds_a_note: seconds of the round divided by the number of its notes.
        answered: median time until a note's hashtags and category arrive.
        first: median time until the first hashtag arrives; ranked hashtags arrive all at once (see `_introduction`).
    """

    kind: str
    concurrency: int
    engine: str
    seconds_a_note: list[float]
    answered: list[float]
    first: list[float]


def measure(checkpoint: Path, *, quick: bool) -> Content:
    """See `Section.measure`."""
    threads = usable_cores()
    cells = asyncio.run(_measure(checkpoint, threads, QUICK_ROUNDS if quick else ROUNDS))
    return {"threads": threads, "count": COUNT, "cells": [asdict(cell) for cell in cells]}


async def _measure(checkpoint: Path, threads: int, rounds: Mapping[str, Mapping[int, int]]) -> list[Cell]:
    cells: list[Cell] = []
    supply = note_supply()
    async with open_suggesters(checkpoint, threads) as suggesters:
        for warmed, one in itertools.product(KINDS, suggesters):  # first answers are slow
            await in_parallel(one, warmed, list(itertools.islice(supply, 2)), 2, COUNT, category=True)
        for kind, concurrency, times in [(name, *one) for name in KINDS for one in rounds[name].items()]:
            row = {one.name: Cell(kind, concurrency, one.name, [], [], []) for one in suggesters}
            for number in range(times):
                # All engines get the same notes, and new ones in each round, because vLLM caches notes that it has seen.
                notes = list(itertools.islice(supply, max(concurrency, LEAST_NOTES)))
                others = list(itertools.islice(supply, max(concurrency, LEAST_NOTES)))
                start = number % len(suggesters)
                for one in suggesters[start:] + suggesters[:start]:
                    await _ask(one, row[one.name], notes, others)
            cells += row.values()
    return cells


async def _ask(engine: Suggester, cell: Cell, notes: Sequence[NoteText], others: Sequence[NoteText]) -> None:
    """Runs one round of one engine."""
    seconds, answered = await in_parallel(engine, cell.kind, notes, cell.concurrency, COUNT, category=True)
    first = answered  # ranked hashtags arrive all at once
    if cell.kind == WRITTEN:
        _, first = await in_parallel(engine, cell.kind, others, cell.concurrency, 1, category=False)
    cell.seconds_a_note.append(seconds / len(notes))
    cell.answered.append(statistics.median(note.whole for note in answered))
    cell.first.append(statistics.median(note.hashtags for note in first))
    print(f"{cell.kind}, {cell.concurrency} at a time, {engine.name}: {len(notes) / seconds:.2f} notes/s", flush=True)


def _cells(content: Content, kind: str) -> list[Cell]:
    return [Cell(**one) for one in content["cells"] if one["kind"] == kind]


def _rate(cell: Cell) -> Spread:
    return Spread.of([1 / seconds for seconds in cell.seconds_a_note])


def fastest(cells: Sequence[Cell]) -> dict[int, str]:
    """The engine with the highest median rate, by concurrency."""
    best: dict[int, Cell] = {}
    for cell in cells:
        if cell.concurrency not in best or _rate(cell).median > _rate(best[cell.concurrency]).median:
            best[cell.concurrency] = cell
    return {concurrency: cell.engine for concurrency, cell in best.items()}


def markdown(content: Content) -> str:
    """See `Section.markdown`."""
    return "\n\n".join([_introduction(content), *(_table(kind, _cells(content, kind)) for kind in KINDS)])


def _introduction(content: Content) -> str:
    rounds = [len(cell["seconds_a_note"]) for cell in content["cells"]]
    return f"""Each engine works behind the service's queues, with the service's settings, on the same {content["threads"]} cores,
while the others wait: `transformers` in this process, one vLLM inside the service (`NOTELLM_ENGINE=vllm`), and a `vllm serve`
beside it (`remote`). Clients ask for one note at a time, so there are as many requests as notes. Each note gets
{content["count"]} hashtags and a category. *First hashtag*: engines answer with whole lists. For written hashtags it is the time of a
request for one hashtag without a category. Ranked hashtags come all at once; for them it is the time until they are there. In a
round all engines get the same notes, and each round has other notes. There are up to {max(rounds)} rounds, and {min(rounds)} with the
most notes at a time."""


def _table(kind: str, cells: Sequence[Cell]) -> str:
    reference = {cell.concurrency: cell for cell in cells if cell.engine == TRANSFORMERS}
    best = fastest(cells)
    heads = {WRITTEN: "Hashtags that the model writes, greedily", RANKED: "Hashtags ranked within the checkpoint's vocabulary"}
    lines = [
        f"**{heads[kind]}**\n",
        "| notes at a time | engine | notes/s | speed, transformers = 1 | answered (s) | first hashtag (s) |",
        "|---|---|---|---|---|---|",
    ]
    for cell in cells:
        ratio = ratios(reference[cell.concurrency].seconds_a_note, cell.seconds_a_note)
        name = f"**{cell.engine}**" if best[cell.concurrency] == cell.engine else cell.engine
        lines.append(
            f"| {cell.concurrency} | {name} | {_rate(cell).text()} | {ratio.text()} | {Spread.of(cell.answered).text()} "
            f"| {Spread.of(cell.first).text()} |"
        )
    return "\n".join(lines)


def figures(content: Content) -> dict[str, Any]:
    """See `Section.figures`."""
    figure = Figure(figsize=(13, 4.5), layout="constrained")
    for axes, kind in zip(figure.subplots(1, 2, sharey=True), KINDS, strict=True):
        cells = _cells(content, kind)
        for engine in ENGINES:
            own = [cell for cell in cells if cell.engine == engine]
            rates = [_rate(cell) for cell in own]
            spread = [[rate.median - rate.least for rate in rates], [rate.most - rate.median for rate in rates]]
            places = [cell.concurrency for cell in own]
            axes.errorbar(places, [rate.median for rate in rates], yerr=spread, marker="o", capsize=3, label=engine)
        axes.set_xscale("log", base=2)
        axes.set(xlabel="notes at the same time", ylabel="notes/s", title=f"{kind} hashtags and a category")
        axes.set_xticks([cell.concurrency for cell in own], [str(cell.concurrency) for cell in own])
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend()
    return {"hashtag-engines": figure}
