"""Section `encoders`: our encoder and its peers embed the same notes with the same weights, in turn.

Each peer runs with its best settings: float32, all threads, batches sorted by length if the peer sorts them, and the batch size that is
fastest on this machine.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from sentence_transformers import SentenceTransformer

from benchmarks.measure import Content, Spread, ratios, seconds, take_turns
from benchmarks.peers import comparable, missing_peers, open_peers
from benchmarks.plain import without_token_vectors
from benchmarks.transformers_ways import Ids, Vectors, one_by_one, padded
from benchmarks.workloads import embedding_prompts, needed_operations, workloads
from notellm import Checkpoint, NoteEncoder, NoteLLM

TITLE = "Embedding: notes a second against the peers"
OURS, PEAK = "ours", "matrix product"
ARRIVAL = "transformers, padded, 32 a batch in order of arrival"
BATCH_SIZES = (4, 8, 16, 32)
BUDGETS = (256, 512, 1024, 2048)
# A larger difference means a different model, a truncated text or a wrong token.
PARITY = 1e-4

Way = Callable[[], tuple[float, Vectors]]
"""Embeds all prompts once and returns the seconds, and the vectors in the order of the prompts."""


def measure(checkpoint: Path, *, quick: bool) -> Content:
    """See `benchmarks.speed.Section`. What token vectors cost is another section: peers cannot add them."""
    with tempfile.TemporaryDirectory() as folder:
        return _measure(without_token_vectors(Checkpoint.open(checkpoint, verify="size"), Path(folder)), quick=quick)


@torch.inference_mode()
def _measure(opened: Checkpoint, *, quick: bool) -> Content:
    model, prompt = opened.load_model(), opened.prompt()
    library = SentenceTransformer(str(opened.path), device="cpu", model_kwargs={"dtype": "float32"})
    library.tokenizer.chat_template = None  # it would be wrapped around every text
    measured: Content = {
        "threads": torch.get_num_threads(), "prefix": len(prompt.embedding_prefix), "missing": missing_peers(), "workloads": {},
    }  # fmt: skip
    with open_peers(opened.path, torch.get_num_threads()) as peers:
        for name, notes in (workloads(10, 10) if quick else workloads(120, 60)).items():
            prompts = embedding_prompts(prompt, notes)
            texts = [library.tokenizer.decode(ids) for ids in prompts]
            # Otherwise peers that take texts would embed different tokens.
            same = comparable(library.tokenizer, prompts, texts)
            prompts, texts = ([all_of[position] for position in same] for all_of in (prompts, texts))
            print(f"{name}: {len(prompts)} prompts", flush=True)
            ways, settings = _ways(model, prompt.embedding_prefix, library, prompts, texts)
            ways |= {peer.name: partial(peer.embed, prompts, texts) for peer in peers.values()}
            measured["workloads"][name] = _compare(ways, rounds=1 if quick else 4) | {
                "prompts": len(prompts), "tokens": sum(map(len, prompts)) / len(prompts), "settings": settings,
                "operations": needed_operations(model, prompts, len(prompt.embedding_prefix)),
            }  # fmt: skip
    return measured


def _ways(
    model: NoteLLM, prefix: Sequence[int], library: SentenceTransformer, prompts: Ids, texts: Sequence[str]
) -> tuple[dict[str, Way], dict[str, int]]:
    """The ways that run in this process, each with the batch size that is fastest on this machine, and these sizes."""
    encoders = {tokens: NoteEncoder(model, prefix, max_batch_tokens=tokens) for tokens in BUDGETS}

    def by_library(size: int) -> Vectors:
        return np.asarray(library.encode(list(texts), batch_size=size), dtype=np.float32)

    budget = _fastest(BUDGETS, lambda tokens: encoders[tokens].encode(prompts))
    library_size = _fastest(BATCH_SIZES, by_library)
    padded_size = _fastest(BATCH_SIZES, lambda size: padded(model, prompts, size, by_length=True))
    ways: dict[str, Callable[[], Vectors]] = {
        OURS: lambda: encoders[budget].encode(prompts),
        "sentence-transformers encode": lambda: by_library(library_size),
        ARRIVAL: lambda: padded(model, prompts, 32, by_length=False),
        "transformers, padded, sorted by length": lambda: padded(model, prompts, padded_size, by_length=True),
        "transformers, a note at a time": lambda: one_by_one(model, prompts),
    }
    settings = {
        OURS: budget,
        "sentence-transformers encode": library_size,
        "transformers, padded, sorted by length": padded_size,
    }
    return {name: _timed(run) for name, run in ways.items()}, settings


def _fastest(sizes: Sequence[int], run: Callable[[int], object]) -> int:
    """The fastest size, measured after a warm-up run."""
    run(sizes[0])
    return min(sizes, key=lambda size: seconds(lambda: run(size)))


def _timed(run: Callable[[], Vectors]) -> Way:
    def way() -> tuple[float, Vectors]:
        found: list[Vectors] = []
        return seconds(lambda: found.append(run())), found[0]

    return way


def _compare(ways: Mapping[str, Way], *, rounds: int) -> Content:
    """Seconds of each round, floating-point operations per second of a matrix product in each round, and differences of the vectors."""
    reference = ways[OURS]()[1]
    differences = {name: float(np.abs(way()[1] - reference).max()) for name, way in ways.items()}
    if wrong := {name: value for name, value in differences.items() if not value <= PARITY}:
        raise ValueError(f"these do not give our vectors, so their speed cannot be compared: {wrong}")
    measured = take_turns({name: partial(_seconds, way) for name, way in ways.items()} | {PEAK: matrix_peak}, rounds)
    return {"peak": measured.pop(PEAK), "seconds": measured, "differences": differences}


def _seconds(way: Way) -> float:
    return way()[0]


def matrix_peak(size: int = 2048, tries: int = 5) -> float:
    """Speed of the fastest measured float32 matrix product, in floating-point operations per second."""
    left, right = torch.randn(size, size), torch.randn(size, size)
    return max(2 * size**3 / seconds(lambda: left @ right) for _ in range(tries))


def markdown(content: Content) -> str:
    """See `benchmarks.speed.Section`."""
    head = (
        f"{content['threads']} threads, float32. {content['prefix']} tokens of each prompt are the same for all notes. Every way "
        f"gave our vectors (no component differs by {PARITY:g} or more; otherwise the run stops). Each way has the batch size that "
        "is fastest here, in tokens for ours and in notes for the others; sentence-transformers sorts by length itself."
    )
    parts = [head]
    for name, found in content["workloads"].items():
        ours, settings = found["seconds"][OURS], found["settings"]
        share = Spread.of([found["operations"] / s / p for s, p in zip(ours, found["peak"], strict=True)])
        peak = Spread.of(found["peak"]).median / 1e9
        parts.append(
            f"**{name}**: {found['prompts']} prompts of {found['tokens']:.0f} tokens, {len(ours)} rounds. Ours runs at "
            f"{share.median:.0%} ({share.least:.0%} to {share.most:.0%}) of the float32 matrix peak of {peak:.0f} GFLOP/s, "
            "counting only the matrix products of the tokens that must be computed.\n\n"
            "| way | batch | notes/s | ours is faster by |\n|---|---|---|---|\n"
            + "\n".join(
                f"| {way} | {settings.get(way, '')} | {Spread.of([found['prompts'] / s for s in taken]).text(1)} "
                f"| {ratios(taken, ours).text(2, '×')} |"
                for way, taken in found["seconds"].items()
            )
        )
    parts += [f"Not measured: {line}" for line in content["missing"]]
    return "\n\n".join(parts)


def figures(content: Content) -> dict[str, Any]:
    """See `benchmarks.speed.Section`."""
    figure, axes = plt.subplots(1, len(content["workloads"]), figsize=(14, 4), layout="constrained")
    for position, (axis, (name, found)) in enumerate(zip(axes, content["workloads"].items(), strict=True)):
        rates = {way: Spread.of([found["prompts"] / s for s in taken]) for way, taken in found["seconds"].items()}
        medians = [rate.median for rate in rates.values()]
        below = [rate.median - rate.least for rate in rates.values()]
        above = [rate.most - rate.median for rate in rates.values()]
        axis.barh(list(rates), medians, xerr=[below, above], color=["tab:green", *["tab:blue"] * (len(rates) - 1)])
        axis.invert_yaxis()
        axis.set(title=name, xlabel="notes/s")
        if position:
            axis.set_yticklabels([])
    return {"embedding": figure}
