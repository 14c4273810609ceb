"""Section `token_vectors`: what adding the vectors of a note's own tokens costs when notes are embedded."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measure import Content, Spread, alternate, ratios
from benchmarks.workloads import embedding_prompts, workloads
from notellm import Checkpoint, NoteEncoder
from notellm.model import NoteLLM
from notellm.token_vectors import TokenTerms, TokenVectors

TITLE = "Token vectors"


@torch.inference_mode()
def measure(checkpoint: Path, *, quick: bool) -> Content:
    """See `benchmarks.speed.Section`. The checkpoint's own model, with a random vector for every token and without any."""
    opened = Checkpoint.open(checkpoint, verify="size")
    model, prompt = opened.load_model(), opened.prompt()
    rows = int(model.causal_lm.config.vocab_size)
    random = np.random.default_rng(0)
    terms = TokenTerms(np.arange(rows), random.uniform(1, 9, rows).astype(np.float32), prompt.frame)
    vectors = TokenVectors(terms, torch.from_numpy(random.normal(size=(rows, model.dimensions))))
    encoders = {
        "without": NoteEncoder(NoteLLM(model.causal_lm, model.projection), prompt.embedding_prefix),
        "with": NoteEncoder(NoteLLM(model.causal_lm, model.projection, vectors), prompt.embedding_prefix),
    }
    measured: Content = {"workloads": {}}
    for name, notes in (workloads(5, 5) if quick else workloads(60, 30)).items():
        prompts = embedding_prompts(prompt, notes)
        ways = {way: partial(encoder.encode, prompts) for way, encoder in encoders.items()}
        for run in ways.values():
            run()
        measured["workloads"][name] = {"prompts": len(prompts), "seconds": alternate(ways, 1 if quick else 15)}
    return measured


def markdown(content: Content) -> str:
    """See `benchmarks.speed.Section`."""
    rows = []
    for name, found in content["workloads"].items():
        bare, added = (found["seconds"][way] for way in ("without", "with"))
        rates = [Spread.of([found["prompts"] / seconds for seconds in taken]).text(1) for taken in (bare, added)]
        rows.append(f"| {name} | {rates[0]} | {rates[1]} | {ratios(bare, added).text(3, '×')} |")
    return (
        "The same model with a vector for every token of its vocabulary, and without any. The last column is the speed with them, "
        "relative to the speed without them.\n\n"
        "| notes | without, notes/s | with, notes/s | ratio |\n|---|---|---|---|\n" + "\n".join(rows)
    )


def figures(content: Content) -> dict[str, Any]:
    """See `benchmarks.speed.Section`. This section has no figures, only a table."""
    del content
    return {}
