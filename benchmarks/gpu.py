"""Our forward pass on a GPU: whether it is right, then how fast, beside transformers with the same weights on the same prompts.

    python -m benchmarks.gpu checkpoints/demo
    python -m benchmarks.gpu --shape llama2-7b --json gpu-7b.json

`--shape` makes random weights of a model's shape on the device (nothing is downloaded): rates do not depend on what the weights
are. Prompts are cut to exact lengths from the demo's notes, or random ids. Everything runs in bfloat16; peers get their best,
batches sorted by length, of the size that is fastest here. Ends with 1 when a check fails, before anything is timed, and with 2
where there is no GPU. `--device cpu` runs the same code in float32 on a few prompts, with the reference kernel: figures worth
nothing.

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

NO_GPU = "benchmarks.gpu needs a CUDA GPU and torch sees none here; --device cpu tries the code without one."
BUDGETS = (2048, 4096, 8192, 16384, 32768, 65536)
OURS = "ours (packed, cached prefix)"
GRAPHED = "ours in CUDA graphs"


def matrix_peak(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """Fastest square matrix product seen, in floating-point operations a second."""
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))

    def multiply() -> None:
        _ = left @ right
        wait(device)

    return max(2 * size**3 / seconds(multiply) for _ in range(12))


def wait(device: torch.device) -> None:
    """For everything that was begun."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_gigabytes(device: torch.device, run: Callable[[], object]) -> float | None:
    """Most memory that tensors took at once during a run, weights included."""
    if device.type != "cuda":
        run()
        return None
    torch.cuda.reset_peak_memory_stats(device)
    run()
    return torch.cuda.max_memory_allocated(device) / 1e9


def time_ways(subject: Subject, ways: Mapping[str, Way], prompts: Sequence[Sequence[int]], rounds: int, peak: float) -> Content:
    """Runs the ways in turn; what each needs of memory is measured in the run that warms it up."""
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
    """Ours, captured and not, by tokens of one pass."""
    ways: dict[str, Way] = {}
    for size in sizes:
        ways |= {f"{OURS}, {size} tokens": ours(subject, size), f"{GRAPHED}, {size} tokens": Graphed(subject, size)}
    return time_ways(subject, ways, subject.prompts(workload, options.tokens), options.rounds, peak)


def compare(subject: Subject, workload: str, budget: int, options: argparse.Namespace, peak: float) -> Content:
    """Every way on one workload."""
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
    """The one with the most notes a second, captured or not."""
    rates = {name: way["notes_per_second"]["median"] for name, way in content["ways"].items()}
    return max(sizes, key=lambda size: max(rates[f"{kind}, {size} tokens"] for kind in (OURS, GRAPHED)))


def facts(device: torch.device, dtype: torch.dtype) -> Content:
    """What the run ran on."""
    found: Content = {**machine(), "device": str(device), "dtype": str(dtype)}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {"gpu": properties.name, "gpu_gigabytes": properties.total_memory / 1e9, "cuda": torch.version.cuda}
    return found


def check_lines(checks: Sequence[Check]) -> str:
    """Markdown."""
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
    """Checks, then measures, printing as it goes; whether all checks passed."""
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
    """Options, with what suits the device."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, nargs="?")
    parser.add_argument("--shape", choices=SHAPES, help="random weights of this shape in place of a checkpoint")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tokens", type=int, help="of a workload behind the prefix (131072 on a GPU)")
    parser.add_argument("--check-tokens", type=int, help="of the prompts that are checked (4096 on a GPU)")
    parser.add_argument("--budgets", type=int, nargs="+", help=f"tokens of a pass to try ({' '.join(map(str, BUDGETS))})")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sentence-transformers", action="store_true", help="measure its encode too; needs a checkpoint")
    parser.add_argument("--skip-checks", action="store_true")
    parser.add_argument("--json", type=Path, help="write the JSON here instead of printing it")
    options = parser.parse_args(arguments)
    if (options.checkpoint is None) == (options.shape is None):
        parser.error("give either a checkpoint or --shape")
    if options.shape and options.sentence_transformers:
        parser.error("--sentence-transformers needs a checkpoint")
    on_gpu = options.device == "cuda"
    options.tokens = options.tokens or (131_072 if on_gpu else 256)
    options.check_tokens = options.check_tokens or (4096 if on_gpu else 700)
    options.budgets = options.budgets or (list(BUDGETS) if on_gpu else [64, 128])
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs and returns the exit status."""
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
        print("A check failed: nothing was timed.", file=sys.stderr)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
