"""Section `growth`: how the cost grows with the length of a note."""

from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from matplotlib import pyplot as plt

from benchmarks.measure import Content, Spread, alternate
from benchmarks.workloads import embedding_prompts, workloads
from notellm import Checkpoint, NoteEncoder

TITLE = "Cost growth: notes a second by length"
LENGTHS = (10, 40, 80, 160, 320)
TOKENS = 2560


@torch.inference_mode()
def measure(checkpoint: Path, *, quick: bool) -> Content:
    """See `benchmarks.speed.Section`."""
    opened = Checkpoint.open(checkpoint, verify="size")
    prompt = opened.prompt()
    prefix = prompt.embedding_prefix
    encoder = NoteEncoder(opened.load_model(), prefix)
    notes = embedding_prompts(prompt, workloads(5, 60)["120-token notes"])
    text = list(chain.from_iterable(ids[len(prefix) :] for ids in notes))
    total = TOKENS // 8 if quick else TOKENS
    batches = {
        length: [[*prefix, *text[start : start + length]] for start in range(0, total - length + 1, length)]
        for length in LENGTHS
    }
    ways = {str(length): partial(encoder.encode, prompts) for length, prompts in batches.items()}
    encoder.encode(batches[LENGTHS[0]])
    measured = alternate(ways, 1 if quick else 7)
    return {"prefix": len(prefix), "notes": {str(k): len(v) for k, v in batches.items()}, "seconds": measured}


def markdown(content: Content) -> str:
    """See `benchmarks.speed.Section`."""
    rows = []
    for length, taken in content["seconds"].items():
        notes = content["notes"][length]
        rate = Spread.of([notes / s for s in taken])
        tokens = Spread.of([int(length) * notes / s for s in taken])
        rows.append(f"| {length} | {notes} | {rate.text(1)} | {tokens.text(0)} |")
    return (
        f"Real text, cut to length. The tokens follow the {content['prefix']} shared ones, which are computed once. The cost of a token "
        "stays nearly the same: attention grows with the square of the length, but it is a small part of so short a text.\n\n"
        "| tokens of a note | notes | notes/s | tokens/s |\n|---|---|---|---|\n" + "\n".join(rows)
    )


def figures(content: Content) -> dict[str, Any]:
    """See `benchmarks.speed.Section`."""
    figure, axis = plt.subplots(figsize=(6, 3.5), layout="constrained")
    rates = {int(k): Spread.of([content["notes"][k] / s for s in taken]) for k, taken in content["seconds"].items()}
    below = [rate.median - rate.least for rate in rates.values()]
    above = [rate.most - rate.median for rate in rates.values()]
    axis.errorbar(list(rates), [rate.median for rate in rates.values()], yerr=[below, above], marker="o", capsize=3)
    axis.set(xscale="log", yscale="log", xlabel="tokens of a note", ylabel="notes/s")
    axis.grid(alpha=0.3, which="both")
    return {"growth": figure}
