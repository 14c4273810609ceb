"""Embeds the same notes with the same weights in several ways, in turn, and prints each one's rate and ratio to ours.

    .venv/bin/python -m benchmarks.embed checkpoints/demo --notes 32 --rounds 5

Needs the demo's checkpoint and the dev dependencies. Rates drift with the machine: read the ratios. Peers get their best: batches
sorted by length, in float32, of the size that is fastest here.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from demo.sample import sample_notes
from notellm import Checkpoint, NoteEncoder, NoteLLM, NotePrompt, NoteText

Ids = Sequence[Sequence[int]]
BATCH_SIZES = (4, 8, 16, 32)


def one_by_one(model: NoteLLM, prompts: Ids) -> None:
    """A plain forward pass for each prompt."""
    for prompt in prompts:
        model(torch.tensor(prompt))


def padded(model: NoteLLM, prompts: Ids, batch_size: int) -> None:
    """What most scripts do: batches sorted by length, padded on the right, the whole prompt computed for each."""
    ordered = sorted(prompts, key=len)
    for start in range(0, len(ordered), batch_size):
        batch = ordered[start : start + batch_size]
        width = len(batch[-1])
        ids = torch.tensor([[*prompt, *[0] * (width - len(prompt))] for prompt in batch])
        mask = torch.tensor([[1] * len(prompt) + [0] * (width - len(prompt)) for prompt in batch])
        hidden = model.causal_lm.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        model.project(hidden[torch.arange(len(batch)), mask.sum(1) - 1])


def seconds(run: Callable[[], object]) -> float:
    """How long it takes, once."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def workloads(notes: int) -> dict[str, list[NoteText]]:
    """Captions (titles alone), whole notes, and every other one of both."""
    sample = sample_notes(-(-notes // 5))[:notes]
    captions = [NoteText(title=note.plain_title) for note in sample]
    whole = [NoteText(title=note.plain_title, content=note.plain_content * 3, hashtags=note.hashtags) for note in sample]
    return {"captions": captions, "long notes": whole, "mix": captions[::2] + whole[1::2]}


def matrix_peak(size: int = 2048, rounds: int = 5) -> float:
    """Fastest float32 matrix product seen, in floating-point operations a second."""
    left, right = torch.randn(size, size), torch.randn(size, size)
    return max(2 * size**3 / seconds(lambda: left @ right) for _ in range(rounds + 2))


def needed_operations(model: NoteLLM, prompts: Ids, prefix: int) -> float:
    """Of the matrix products that no forward pass can do without: two a weight and a token behind the prefix.

    Attention and the projection are left out; of the last layer's, only keys and values are needed at every token.
    """
    layers: Any = model.causal_lm.model.layers
    of_layer = [sum(weight.numel() for weight in layer.parameters() if weight.dim() > 1) for layer in layers]
    last = layers[-1].self_attn
    keys_values = last.k_proj.weight.numel() + last.v_proj.weight.numel()
    tokens = sum(len(prompt) - prefix for prompt in prompts)
    everywhere = sum(of_layer[:-1]) + keys_values
    return float(2 * (tokens * everywhere + len(prompts) * (of_layer[-1] - keys_values)))


def compare(
    name: str, model: NoteLLM, prompt: NotePrompt, library: SentenceTransformer, notes: Sequence[NoteText], rounds: int
) -> None:
    """Runs the ways in turn and prints medians and spreads."""
    encoder = NoteEncoder(model, prompt.embedding_prefix)
    prompts = [prompt.embedding(note) for note in prompt.tokenize(notes)]
    texts = [library.tokenizer.decode(ids) for ids in prompts]
    best_padded = min(BATCH_SIZES, key=lambda size: seconds(lambda: padded(model, prompts, size)))
    best_library = min(BATCH_SIZES, key=lambda size: seconds(lambda: library.encode(texts, batch_size=size)))
    ways: dict[str, Callable[[], object]] = {
        "ours (packed, cached prefix)": lambda: encoder.encode(prompts),
        f"sentence-transformers encode, {best_library} a batch": lambda: library.encode(texts, batch_size=best_library),
        f"transformers, padded, {best_padded} a batch": lambda: padded(model, prompts, best_padded),
        "transformers, one note at a time": lambda: one_by_one(model, prompts),
    }
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, run in ways.items():
            taken[way].append(seconds(run))
    reference = taken[next(iter(ways))]
    tokens = sum(map(len, prompts)) / len(prompts)
    share = needed_operations(model, prompts, len(prompt.embedding_prefix)) / statistics.median(reference) / matrix_peak()
    print(
        f"\n{name}: {len(prompts)} prompts of {tokens:.0f} tokens, of which {len(prompt.embedding_prefix)} are shared; ", end=""
    )
    print(f"{torch.get_num_threads()} threads, {rounds} rounds; ours runs at {share:.0%} of the matrix peak\n")
    print("| way | notes/s (median) | ours is faster by (median, least to most) |\n|---|---|---|")
    for way, times in taken.items():
        ratios = [other / ours for other, ours in zip(times, reference, strict=True)]
        spread = f"{statistics.median(ratios):.2f}× ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {way} | {len(prompts) / statistics.median(times):.2f} | {spread} |", flush=True)


@torch.inference_mode()
def main() -> None:
    """Compares on each workload."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--notes", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    checkpoint = Checkpoint.open(options.checkpoint, verify="size")
    model, prompt = checkpoint.load_model(), checkpoint.prompt()
    library = SentenceTransformer(str(checkpoint.path), device="cpu", model_kwargs={"dtype": "float32"})
    library.tokenizer.chat_template = None  # it would be wrapped around every text
    for name, notes in workloads(options.notes).items():
        compare(name, model, prompt, library, notes, options.rounds)


if __name__ == "__main__":
    main()
