"""The GPU benchmark without a GPU: the same code, with the reference kernel, on a tiny model."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks import gpu, gpu_checks
from benchmarks.gpu_checks import check_kernel, check_vectors
from benchmarks.gpu_subject import LENGTHS, Subject
from notellm.forward import Pack
from notellm.forward.graphs import Bucket
from notellm.forward.varlen import reference_kernel

CPU = torch.device("cpu")


def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--shape", "llama2-7b"]) == 2
    said = capsys.readouterr()
    assert said.err.strip() == gpu.NO_GPU
    assert not said.out


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_it_checks_and_measures_a_checkpoint(tiny_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "gpu.json"
    arguments = [str(tiny_path), "--device", "cpu", "--rounds", "2", "--sentence-transformers", "--json", str(output)]
    assert gpu.main(arguments) == 0
    content = json.loads(output.read_text(encoding="utf-8"))
    assert all(check["passed"] for check in content["checks"])
    assert list(content["workloads"]) == list(LENGTHS)
    assert content["budget"] in {64, 128}
    for workload in content["workloads"].values():
        ways = workload["ways"]
        assert [name.split(", ")[0] for name in ways] == [
            "ours (packed", "ours in CUDA graphs", "transformers", "transformers", "sentence-transformers encode",
        ]  # fmt: skip
        assert all(len(way["seconds"]) == 2 and way["notes_per_second"]["median"] > 0 for way in ways.values())
    assert "| **FAIL** |" not in capsys.readouterr().out


def test_random_weights_print_json_and_a_failed_check_stops_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_checks, "FLOAT32_TOLERANCE", -1.0)
    assert gpu.main(["--shape", "tiny", "--device", "cpu", "--rounds", "1"]) == 1
    said = capsys.readouterr()
    content = json.loads(said.out.split("```json")[1].rstrip("`\n"))
    assert [check["name"] for check in content["checks"] if not check["passed"]] == [
        "ours in float32: largest difference of a component"
    ]
    assert "workloads" not in content
    assert "**FAIL**" in said.out


def leaky(*states: Any, causal: bool) -> tuple[Tensor, Tensor]:
    return reference_kernel(*states, causal=False)


def shifted(*states: Any, causal: bool) -> tuple[Tensor, Tensor]:
    attended, log_sums = reference_kernel(*states, causal=causal)
    return attended, log_sums + 0.1 * causal


@pytest.mark.parametrize(("kernel", "caught"), [(leaky, "kernel: own"), (shifted, "log-sum-exps")])
def test_a_wrong_kernel_fails(kernel: Any, caught: str) -> None:
    failed = [check.name for check in check_kernel(kernel, CPU, torch.float32) if not check.passed]
    assert any(caught in name for name in failed)
    assert any("joined" in name for name in failed)


def test_a_stale_graph_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    first: dict[Bucket, Pack] = {}
    fill = Bucket.filled
    monkeypatch.setattr(Bucket, "filled", lambda bucket, pack: first.setdefault(bucket, fill(bucket, pack)))
    subject = Subject.of_shape("tiny", CPU, torch.float32)
    checks = list(check_vectors(subject, subject.prompts("captions", 2500)))
    assert [check.name.split(":")[0] for check in checks if not check.passed] == [
        "ours in CUDA graphs, captured", "ours in CUDA graphs, replayed",
    ]  # fmt: skip


def test_operations_are_those_of_the_weights() -> None:
    subject = Subject.of_shape("tiny", CPU, torch.float32)
    prompts = subject.prompts("captions", 100)
    layer = 48 * 48 * 2 + 48 * 16 * 2 + 3 * 48 * 96
    own, keys_values = subject.own_tokens(prompts), 48 * 16 * 2
    assert subject.needed_operations(prompts) == 2 * (own * (2 * layer + keys_values) + len(prompts) * (layer - keys_values))
    assert own == sum(len(prompt) - len(subject.prefix) for prompt in prompts)
    assert own >= 100
