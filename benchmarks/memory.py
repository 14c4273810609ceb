"""Section `memory`: whether the service's memory grows while it embeds 50,000 notes. A tiny model keeps the run short."""

import json
import random
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import torch
from matplotlib import pyplot as plt
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.measure import Content
from harness.service import RunningService, running_service
from notellm import Checkpoint
from training.model import InitialCheckpoint

TITLE = "Resident memory over 50,000 notes"
NOTES, A_REQUEST, CLIENTS, SAMPLES = 50_000, 50, 4, 50
# The first notes fill allocators, thread pools and caches, so they do not count.
WARM = 0.2


def measure(checkpoint: Path, *, quick: bool) -> Content:
    """See `benchmarks.speed.Section`."""
    total = NOTES // 50 if quick else NOTES
    with tempfile.TemporaryDirectory() as folder:
        tiny = tiny_checkpoint(checkpoint, Path(folder) / "tiny")
        with running_service(tiny, Path(folder) / "data") as service, ThreadPoolExecutor(CLIENTS) as clients:
            samples = [(0, _resident(service))]
            sent = 0
            for bodies in _portions(total):
                for answer in clients.map(lambda body: _embed(service, body), bodies):
                    answer.raise_for_status()
                sent += len(bodies) * A_REQUEST
                samples.append((sent, _resident(service)))
            return {"samples": samples}


def tiny_checkpoint(checkpoint: Path, output: Path) -> Path:
    """A random LLaMA of two narrow layers with the tokenizer of a checkpoint."""
    tokenizer = Checkpoint.open(checkpoint, verify="size").tokenizer
    base = output.with_name("base")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(base)
    tokenizer.save_pretrained(base)
    InitialCheckpoint(base=str(base), output=output, name="tiny", categories=("a", "b")).make()
    return output


def _portions(total: int) -> Iterator[list[bytes]]:
    """Request bodies with notes of all lengths, in portions; memory is measured after each portion."""
    chosen = random.Random(0)  # noqa: S311 -- lengths of notes
    words = [
        "cold",
        "brew",
        "coffee",
        "tastes",
        "sour",
        "grind",
        "finer",
        "steep",
        "longer",
        "quantum",
        "gate",
        "noise",
        "hops",
    ]
    each = total // SAMPLES // A_REQUEST
    for _ in range(SAMPLES):
        yield [
            json.dumps({
                "store": False, "vectors": False,
                "notes": [
                    {"id": str(number), "title": " ".join(chosen.choices(words, k=chosen.randint(1, 20))),
                     "content": " ".join(chosen.choices(words, k=chosen.randint(0, 80)))}
                    for number in range(A_REQUEST)
                ],
            }).encode()
            for _ in range(max(each, 1))
        ]  # fmt: skip


def _embed(service: RunningService, body: bytes) -> httpx.Response:
    headers = {"Content-Type": "application/json"}
    return httpx.post(f"{service.url}/notes/embed", content=body, headers=headers, timeout=60, trust_env=False)


def _resident(service: RunningService) -> int:
    status = Path(f"/proc/{service.process.pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


def growth(samples: list[tuple[int, int]]) -> float:
    """Growth of memory after the warm-up: largest by smallest sample, minus 1."""
    warm = [size for sent, size in samples if sent >= WARM * samples[-1][0]]
    return max(warm) / min(warm) - 1


def markdown(content: Content) -> str:
    """See `benchmarks.speed.Section`."""
    samples = content["samples"]
    sizes = [size / 2**20 for _, size in samples]
    return (
        f"`POST /notes/embed` without storing: {samples[-1][0]:,} notes of 1 to 100 words, {A_REQUEST} notes per request, "
        f"{CLIENTS} clients. Resident memory of the service: {sizes[0]:.0f} MiB at the start, {sizes[-1]:.0f} MiB at the end. "
        f"After the first {WARM:.0%} of the notes its lowest and its highest value differ by {growth(samples):.1%} (bound: 5%)."
    )


def figures(content: Content) -> dict[str, Any]:
    """See `benchmarks.speed.Section`."""
    figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
    axis.plot([sent for sent, _ in content["samples"]], [size / 2**20 for _, size in content["samples"]])
    axis.set(xlabel="notes embedded", ylabel="resident memory (MiB)", ylim=(0, None))
    axis.grid(alpha=0.3)
    return {"memory": figure}
