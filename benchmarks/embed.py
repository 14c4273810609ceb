"""Embeds the same prompts with the same weights in several ways, in turn, and prints each one's rate and ratio to ours.

    .venv/bin/python -m benchmarks.embed checkpoints/demo --notes 40 --rounds 5

Needs the demo's checkpoint and the dev dependencies. Rates drift with the machine: read the ratios.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from demo.sample import sample_notes
from notellm import Checkpoint, NoteEncoder, NoteLLM

Ids = Sequence[Sequence[int]]


def one_by_one(model: NoteLLM, prompts: Ids) -> None:
    """A plain forward pass for each prompt."""
    for prompt in prompts:
        model(torch.tensor(prompt))


def padded(model: NoteLLM, prompts: Ids, batch_size: int = 16) -> None:
    """What most scripts do: batches sorted by length, padded on the right, the whole prompt computed for each."""
    ordered = sorted(prompts, key=len)
    for start in range(0, len(ordered), batch_size):
        batch = ordered[start : start + batch_size]
        width = len(batch[-1])
        ids = torch.tensor([[*prompt, *[0] * (width - len(prompt))] for prompt in batch])
        mask = torch.tensor([[1] * len(prompt) + [0] * (width - len(prompt)) for prompt in batch])
        hidden = model.causal_lm.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        model.project(hidden[torch.arange(len(batch)), mask.sum(1) - 1])


def main() -> None:
    """Runs the ways in turn and prints medians and spreads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--notes", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    checkpoint = Checkpoint.open(options.checkpoint, verify="size")
    model, prompt = checkpoint.load_model(), checkpoint.prompt()
    encoder = NoteEncoder(model, prompt.embedding_prefix)
    notes = sample_notes(-(-options.notes // 5))[: options.notes]
    prompts = [prompt.embedding(note) for note in prompt.tokenize(notes)]
    ways: dict[str, Callable[[], object]] = {
        "ours (packed, cached prefix)": lambda: encoder.encode(prompts),
        "padded, length-sorted, 16 a batch": lambda: padded(model, prompts),
        "one note at a time": lambda: one_by_one(model, prompts),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with torch.inference_mode():
        for _ in range(options.rounds):
            for name, run in ways.items():
                start = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - start)
    tokens = sum(map(len, prompts)) / len(prompts)
    print(f"{len(prompts)} prompts of {tokens:.0f} tokens, {torch.get_num_threads()} threads, {options.rounds} rounds")
    print("| way | notes/s (median) | ours is faster by (median, least to most) |\n|---|---|---|")
    reference = seconds[next(iter(ways))]
    for name, taken in seconds.items():
        ratios = [other / ours for other, ours in zip(taken, reference, strict=True)]
        spread = f"{statistics.median(ratios):.2f}× ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {name} | {len(prompts) / statistics.median(taken):.2f} | {spread} |")


if __name__ == "__main__":
    main()
