"""Our forward pass on a GPU: first checks that it is right, then compares its speed with transformers on the same weights and prompts.

    python -m benchmarks.gpu checkpoints/demo
    python -m benchmarks.gpu --shape llama2-7b --json gpu-7b.json

`--shape` makes random weights with a model's shape on the device and downloads nothing; the speed does not depend on the values of the
weights. Prompts of exact lengths are cut from the demo's notes or made of random ids. Everything runs in bfloat16. Peers run with their
best settings: batches sorted by length, with the batch size that is fastest on this machine. The exit status is 1 if a check fails (then
nothing is timed), and 2 if there is no GPU. `--device cpu` tries the code in float32 on a few prompts with the reference kernel; its
figures mean nothing.

LLaMA-2-7B needs 45 GB for the comparison with float32, and 20 GB with `--skip-checks`.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch

from benchmarks.gpu_checks import Check, check_kernel, check_vectors
from benchmarks.gpu_subject import LENGTHS, SHAPES, Subject
from benchmarks.gpu_ways import BATCH_SIZES, Graphed, Way, by_sentence_transformers, ours, packed_by_transformers, padded
from benchmarks.machine import machine
from benchmarks.measure import Content, Spread, alternate, ratios, seconds
from notellm.forward.varlen import flash_kernel, reference_kernel

NO_GPU = "benchmarks.gpu needs a CUDA GPU, but torch finds none; --device cpu tries the code without one."
BUDGETS = (2048, 4096, 8192, 16384, 32768, 65536)
OURS = "ours (packed, cached prefix)"
GRAPHED = "ours in CUDA graphs"


def matrix_peak(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """Speed of the fastest measured square matrix product, in floating-point operations per second."""
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))

    def multiply() -> None:
        _ = left @ right
        wait(device)

    return max(2 * size**3 / seconds(multiply) for _ in range(12))


def wait(device: torch.device) -> None:
    """Waits until the device has finished all work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_gigabytes(device: torch.device, run: Callable[[], object]) -> float | None:
    """Peak memory of tensors during a run, including weights, in GB."""
    if device.type != "cuda":
        run()
        return None
    torch.cuda.reset_peak_memory_stats(device)
    run()
    return torch.cuda.max_memory_allocated(device) / 1e9


def time_ways(subject: Subject, ways: Mapping[str, Way], prompts: Sequence[Sequence[int]], rounds: int, peak: float) -> Content:
    """Times the ways in turn. The warm-up run of each way measures its memory."""
    runs: dict[str, Callable[[], object]] = {name: partial(way, prompts) for name, way in ways.items()}
    memory = {name: peak_gigabytes(subject.device, run) for name, run in runs.items()}
    taken = alternate(runs, rounds)
    first = next(iter(ways))
    tokens, needed = subject.own_tokens(prompts), subject.needed_operations(prompts)
    return {
        "notes": len(prompts), "tokens": tokens, "ways": {
            name: {
                "notes_per_second": vars(Spread.of([len(prompts) / time for time in times])),
                "tokens_per_second": tokens / statistics.median(times),
                "share_of_peak": needed / statistics.median(times) / peak,
                "times_as_long_as_first": vars(ratios(times, taken[first])), "peak_gigabytes": memory[name], "seconds": times,
            } for name, times in taken.items()
        },
    }  # fmt: skip


def budgets(subject: Subject, sizes: Sequence[int], workload: str, options: argparse.Namespace, peak: float) -> Content:
    """Times our forward pass, with and without CUDA graphs, for several numbers of tokens per pass."""
    ways: dict[str, Way] = {}
    for size in sizes:
        ways |= {f"{OURS}, {size} tokens": ours(subject, size), f"{GRAPHED}, {size} tokens": Graphed(subject, size)}
    return time_ways(subject, ways, subject.prompts(workload, options.tokens), options.rounds, peak)


def compare(subject: Subject, workload: str, budget: int, options: argparse.Namespace, peak: float) -> Content:
    """Times all ways on one workload."""
    prompts = subject.prompts(workload, options.tokens)
    sizes = [size for size in BATCH_SIZES if size <= 2 * len(prompts)] or [len(prompts)]
    best = min(sizes, key=lambda size: min(seconds(partial(padded(subject, size), prompts)) for _ in range(2)))
    ways: dict[str, Way] = {OURS: ours(subject, budget), GRAPHED: Graphed(subject, budget)}
    ways[f"transformers, padded, {best} a batch"] = padded(subject, best)
    if packing := packed_by_transformers(subject, budget):
        ways["transformers, packed, flash attention"] = packing
    if options.sentence_transformers:
        ways[f"sentence-transformers encode, {best} a batch"] = by_sentence_transformers(subject, best)
    return time_ways(subject, ways, prompts, options.rounds, peak)


def best_budget(content: Content, sizes: Sequence[int]) -> int:
    """The number of tokens per pass with the most notes per second, with or without CUDA graphs."""
    rates = {name: way["notes_per_second"]["median"] for name, way in content["ways"].items()}
    return max(sizes, key=lambda size: max(rates[f"{kind}, {size} tokens"] for kind in (OURS, GRAPHED)))


def facts(device: torch.device, dtype: torch.dtype) -> Content:
    """The device and releases of the run."""
    found: Content = {**machine(), "device": str(device), "dtype": str(dtype)}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {"gpu": properties.name, "gpu_gigabytes": properties.total_memory / 1e9, "cuda": torch.version.cuda}
    return found


def check_lines(checks: Sequence[Check]) -> str:
    """The checks as a table in markdown."""
    rows = [f"| {c.name} | {c.found:.2e} | {c.limit:.2e} | {'pass' if c.passed else '**FAIL**'} |" for c in checks]
    return "\n".join(["| check | difference | allowed | |", "|---|---|---|---|", *rows])


def table(title: str, content: Content) -> str:
    """Markdown."""
    rows = [
        f"| {name} | {Spread(**way['notes_per_second']).text(0)} | {way['tokens_per_second']:.0f} | {way['share_of_peak']:.1%} "
        f"| {Spread(**way['times_as_long_as_first']).text(2, '×')} | {way['peak_gigabytes'] or float('nan'):.1f} |"
        for name, way in content["ways"].items()
    ]
    head = f"\n### {title}: {content['notes']} notes, {content['tokens']} tokens behind the prefix\n\n"
    columns = (
        "| way | notes/s | tokens/s | share of the matrix peak | time beside the first | GB |\n|---|---|---|---|---|---|\n"
    )
    return head + columns + "\n".join(rows)


@torch.inference_mode()
def run(options: argparse.Namespace, device: torch.device) -> tuple[Content, bool]:
    """Runs the checks, then the measurements, and prints each result at once. Returns whether all checks passed."""
    on_gpu = device.type == "cuda"
    dtype = torch.bfloat16 if on_gpu else torch.float32
    make = partial(Subject.of_shape, options.shape) if options.shape else partial(Subject.of_checkpoint, options.checkpoint)
    subject = make(device, dtype)
    content: Content = {"machine": facts(device, dtype), "subject": subject.name}
    print(f"# {subject.name}\n\n{', '.join(f'{name}: {fact}' for name, fact in content['machine'].items())}\n", flush=True)
    if not options.skip_checks:
        kernel = flash_kernel if on_gpu else reference_kernel
        checks = [*check_kernel(kernel, device, dtype), *check_vectors(subject, subject.prompts("mix", options.check_tokens))]
        content["checks"] = [vars(check) | {"passed": check.passed} for check in checks]
        print(check_lines(checks), flush=True)
        if not all(check.passed for check in checks):
            return content, False
    content["matrix_peak"] = peak = matrix_peak(device, dtype, 8192 if on_gpu else 512)
    sizes = options.budgets
    content["budgets"] = {}
    for workload in ("captions", "mix"):
        content["budgets"][workload] = found = budgets(subject, sizes, workload, options, peak)
        print(table(f"Tokens of a pass, {workload}", found), flush=True)
    content["budget"] = budget = best_budget(content["budgets"]["mix"], sizes)
    print(f"\nMatrix peak {peak / 1e12:.1f} TFLOP/s. Best on the mix: {budget} tokens a pass, which are used from here on.")
    content["workloads"] = {}
    for workload in LENGTHS:
        content["workloads"][workload] = found = compare(subject, workload, budget, options, peak)
        print(table(workload, found), flush=True)
    return content, True


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, with defaults that suit the device."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, nargs="?")
    parser.add_argument("--shape", choices=SHAPES, help="use random weights with this shape instead of a checkpoint")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tokens", type=int, help="tokens of a workload, without the prefix (131072 on a GPU)")
    parser.add_argument("--check-tokens", type=int, help="tokens of the prompts to check (4096 on a GPU)")
    parser.add_argument("--budgets", type=int, nargs="+", help=f"tokens per pass to try ({' '.join(map(str, BUDGETS))})")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--sentence-transformers", action="store_true", help="also measure sentence-transformers' encode; needs a checkpoint"
    )
    parser.add_argument("--skip-checks", action="store_true")
    parser.add_argument("--json", type=Path, help="write the JSON here instead of printing it")
    options = parser.parse_args(arguments)
    if (options.checkpoint is None) == (options.shape is None):
        parser.error("give a checkpoint or --shape, but not both")
    if options.shape and options.sentence_transformers:
        parser.error("--sentence-transformers needs a checkpoint")
    on_gpu = options.device == "cuda"
    options.tokens = options.tokens or (131_072 if on_gpu else 256)
    options.check_tokens = options.check_tokens or (4096 if on_gpu else 700)
    options.budgets = options.budgets or (list(BUDGETS) if on_gpu else [64, 128])
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark and returns the exit status."""
    options = parse(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print(NO_GPU, file=sys.stderr)
        return 2
    content, passed = run(options, torch.device(options.device, 0) if options.device == "cuda" else torch.device("cpu"))
    text = json.dumps(content, indent=1) + "\n"
    if options.json:
        options.json.write_text(text, encoding="utf-8")
    else:
        print(f"\n```json\n{text}```")
    if not passed:
        print("A check failed, so nothing was timed.", file=sys.stderr)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
