"""Section `int8`: embedding with weights rounded to 8 bits, its speed, and its effect on vectors and recall."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measure import Content, Spread, alternate, ratios
from benchmarks.workloads import embedding_prompts, workloads
from notellm import Checkpoint, NoteEncoder
from notellm.int8 import Int8NoteLLM
from training.config import TrainingConfig
from training.data import load_dataset
from training.evaluation.pool import TestPool
from training.ranking import Vectors, recall, target_ranks

TITLE = "Embedding in int8"
CONFIG = Path("training/configs/smollm2-135m-stackexchange.yaml")
CUTS = (1, 10, 100)


@torch.inference_mode()
def measure(checkpoint: Path, *, quick: bool) -> Content:
    """See `benchmarks.speed.Section`."""
    opened = Checkpoint.open(checkpoint, verify="size")
    model, prompt = opened.load_model(), opened.prompt()
    encoders = {
        "float32": NoteEncoder(model, prompt.embedding_prefix, max_batch_tokens=1024),
        "int8": NoteEncoder(Int8NoteLLM(model), prompt.embedding_prefix, max_batch_tokens=1024),
    }
    measured: Content = {"workloads": {}}
    for name, notes in (workloads(5, 5) if quick else workloads(60, 30)).items():
        prompts = embedding_prompts(prompt, notes)
        ways = {precision: partial(encoder.encode, prompts) for precision, encoder in encoders.items()}
        for run in ways.values():
            run()
        measured["workloads"][name] = {"prompts": len(prompts), "seconds": alternate(ways, 1 if quick else 7)}
    pool = TestPool.of(load_dataset(TrainingConfig.load(CONFIG).data))
    print(f"{len(pool.notes)} notes of the test part", flush=True)
    prompts = embedding_prompts(prompt, pool.notes)
    vectors = {name: encoder.encode(prompts) for name, encoder in encoders.items()}
    cosines = (vectors["float32"] * vectors["int8"]).sum(1)
    ranks = {name: target_ranks(Vectors(name, found), pool.sources, pool.targets) for name, found in vectors.items()}
    nearest = [np.argsort(-found @ found.T, axis=1)[:, 1:11] for found in vectors.values()]
    shared = [len(set(left) & set(right)) / 10 for left, right in zip(*nearest, strict=True)]
    return measured | {
        "notes": len(pool.notes), "pairs": len(pool.sources), "shared": float(np.mean(shared)),
        "cosines": {"least": float(cosines.min()), "mean": float(cosines.mean())},
        "recall": {name: {str(k): recall(found, k) for k in CUTS} for name, found in ranks.items()},
    }  # fmt: skip


def markdown(content: Content) -> str:
    """See `benchmarks.speed.Section`."""
    rows = []
    for name, found in content["workloads"].items():
        exact, rounded = (found["seconds"][precision] for precision in ("float32", "int8"))
        rates = [Spread.of([found["prompts"] / s for s in taken]).text(1) for taken in (exact, rounded)]
        rows.append(f"| {name} | {rates[0]} | {rates[1]} | {ratios(exact, rounded).text(2, '×')} |")
    recalls = [f"| {k} | {content['recall']['float32'][str(k)]:.4f} | {content['recall']['int8'][str(k)]:.4f} |" for k in CUTS]
    cosines = content["cosines"]
    return (
        "`NOTELLM_EMBEDDING_INT8=true` is off by default. The service only uses it if a measurement at start finds it faster.\n\n"
        "| notes | float32, notes/s | int8, notes/s | int8 is faster by |\n|---|---|---|---|\n" + "\n".join(rows) + "\n\n"
        f"Over the {content['notes']} held-out notes, the cosine of the two vectors is at least {cosines['least']:.4f} and "
        f"{cosines['mean']:.4f} on average; {content['shared']:.1%} of the ten nearest notes are the same. Recall over "
        f"{content['pairs']} held-out pairs:\n\n| k | float32 | int8 |\n|---|---|---|\n" + "\n".join(recalls)
    )


def figures(content: Content) -> dict[str, Any]:
    """See `benchmarks.speed.Section`. This section has no figures, only tables."""
    del content
    return {}
