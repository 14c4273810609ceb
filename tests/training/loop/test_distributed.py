"""Two processes learn what one process learns: the same losses, gradients and parameters on the same global batches."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from harness.processes import run_python
from notellm import Checkpoint
from tests.training.runs import log, losses

pytestmark = [pytest.mark.integration, pytest.mark.slow("two processes train together")]
STEPS = 3
TOKENS: dict[str, Any] = {"model__projection": "behaviour", "model__token_vectors": True}
LORA: dict[str, Any] = {"method": {"kind": "lora", "rank": 4}}


# All that the paper does not have. The mean of two steps is measured before the third, so that a mean that stays in place is noticed.
SOFT: dict[str, Any] = {
    "loss": {"alpha": 1.0, "targets": "cooccurrences", "contrast_hashtag_prompts": False, "memory": 24},
    "optimizer": {"learning_rate": 1e-3, "warmup_share": 0.0, "average_share": 1.0},
    "validation": {"every_steps": 2, "notes": 20, "k": 3, "keep_best": False, "pairs": "cooccurrences"},
}


@dataclass(frozen=True)
class Ran:
    """What a run left behind."""

    losses: dict[int, float]
    temperatures: list[float]
    gradients: dict[str, torch.Tensor]
    sharded: set[str]
    inputs: dict[str, set[str]]
    parts: list[tuple[float, float]]
    measured: list[tuple[float, float]]
    parameters: dict[str, torch.Tensor]


class Runs:
    """Starts runs of three steps, in one process or two."""

    def __init__(self, folder: Path, settings: Callable[..., dict[str, Any]]) -> None:
        self._folder = folder
        self._settings = settings

    def __call__(self, name: str, processes: int, options: tuple[str, ...] = (), **changes: Any) -> Ran:
        config = self._folder / f"{name}.yaml"
        defaults = {
            "loss__alpha": 1.0, "validation__every_steps": 100, "optimizer__warmup_share": 0.0, "compute__packed": False,
        }  # fmt: skip
        content = self._settings(examples__pairs_per_batch=8, examples__max_pairs=30, **(defaults | changes))
        config.write_text(yaml.safe_dump(content), encoding="utf-8")
        output = self._folder / name
        launch(processes, "tests.training.loop.worker", str(config), str(output), *options)
        captured = torch.load(output / "capture.pt")
        model = Checkpoint.open(output / "checkpoint").load_model()
        return Ran(
            losses(output),
            [line["temperature"] for line in log(output) if "temperature" in line],
            captured["gradients"],
            captured["sharded"],
            captured["inputs"],
            [(line["loss_contrastive"], line["loss_generative"]) for line in log(output) if "loss" in line],
            [
                (line["validation_recall@3"], line["validation_standard_error@3"])
                for line in log(output)
                if "validation_recall@3" in line
            ],
            {name: value.detach() for name, value in model.named_parameters()},
        )

    def forget(self, name: str, *folders: str) -> None:
        for folder in folders:
            shutil.rmtree(self._folder / name / folder)


def launch(processes: int, module: str, *arguments: str) -> None:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    run_python(*(torchrun if processes > 1 else []), "-m", module, *arguments, seconds=600, environment=environment)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, run_settings: Callable[..., dict[str, Any]]) -> Runs:
    return Runs(tmp_path_factory.mktemp("runs"), run_settings)


@pytest.fixture(scope="module")
def full(runs: Runs) -> Ran:
    return runs("one", 1)


@pytest.fixture(scope="module")
def lora(runs: Runs) -> Ran:
    return runs("one-lora", 1, **LORA)


@pytest.fixture(scope="module")
def soft(runs: Runs) -> Ran:
    return runs("one-soft", 1, **SOFT)


def assert_same(ran: Ran, expected: Ran) -> None:
    assert list(ran.losses) == [1, 2, 3]
    assert ran.losses == pytest.approx(expected.losses, rel=1e-4)
    assert ran.parts == [pytest.approx(parts, rel=1e-4) for parts in expected.parts]
    assert ran.measured == [pytest.approx(measured, abs=1e-6) for measured in expected.measured]
    assert ran.temperatures == pytest.approx(expected.temperatures, abs=1e-6)
    assert len(set(expected.temperatures)) == STEPS  # τ was trained
    assert ran.gradients.keys() == expected.gradients.keys()
    assert "temperature.log_scale" in ran.gradients
    for name, gradient in expected.gradients.items():
        scale = gradient.abs().max().item()
        assert scale > 0 or "lora_A" in name, name  # lora_B starts at 0, so nothing reaches lora_A in the first step
        torch.testing.assert_close(ran.gradients[name], gradient, rtol=1e-3, atol=1e-4 * scale, msg=name)
    for name, value in expected.parameters.items():
        torch.testing.assert_close(ran.parameters[name], value, rtol=1e-3, atol=1e-4, msg=name)


def test_two_processes_equal_one(runs: Runs, full: Ran) -> None:
    assert_same(runs("two", 2), full)


def test_sharded_processes_equal_one(runs: Runs, full: Ran) -> None:
    ran = runs("sharded", 2, compute__fsdp=True)
    assert_same(ran, full)
    assert ran.sharded == ran.gradients.keys()


def test_sharded_chunks_equal_one_batch(runs: Runs, full: Ran) -> None:
    ran = runs("sharded-chunks", 2, compute__fsdp=True, compute__chunk_examples=3, compute__gradient_checkpointing=True)
    assert_same(ran, full)


def test_adapters_in_chunks_on_two_processes_equal_one_batch_on_one(runs: Runs, lora: Ran) -> None:
    ran = runs("two-lora-chunks", 2, **LORA, compute__chunk_examples=5)
    assert_same(ran, lora)
    assert "note_llm.causal_lm.model.embed_tokens.token_adapter.trainable_tokens_delta.default" in ran.gradients


@pytest.mark.parametrize(
    "changes",
    [{}, {"compute__chunk_examples": 3}, {"compute__fsdp": True}, {"compute__fsdp": True, "compute__chunk_examples": 3}],
    ids=["whole", "chunks", "sharded", "sharded chunks"],
)
def test_soft_targets_and_the_mean_of_the_last_states_are_those_of_one_process(
    runs: Runs, soft: Ran, changes: dict[str, Any]
) -> None:
    assert len(soft.measured) == 2
    assert_same(runs("-".join(("two-soft", *changes)), 2, **SOFT, **changes), soft)


def test_packed_soft_targets_are_those_of_padded_ones(runs: Runs, soft: Ran) -> None:
    assert_same(runs("soft-packed", 1, **SOFT, compute__packed=True), soft)


def test_the_mean_of_sharded_weights_goes_on_after_an_interruption(runs: Runs, soft: Ran) -> None:
    runs("interrupted", 2, **SOFT, compute__fsdp=True)
    runs.forget("interrupted", "checkpoint", "states/checkpoint-3")
    ran = runs("interrupted", 2, ("--resume",), **SOFT, compute__fsdp=True)
    assert ran.losses == pytest.approx(soft.losses, rel=1e-4)
    assert ran.measured == [pytest.approx(measured, abs=1e-6) for measured in soft.measured]
    for name, value in soft.parameters.items():
        torch.testing.assert_close(ran.parameters[name], value, rtol=1e-3, atol=1e-4, msg=name)


@pytest.fixture(scope="module")
def tokens(runs: Runs) -> Ran:
    return runs("one-tokens", 1, **TOKENS)


@pytest.mark.parametrize(
    "changes",
    [{}, {"compute__chunk_examples": 3}, {"compute__fsdp": True}, {"compute__fsdp": True, "compute__chunk_examples": 3}],
    ids=["whole", "chunks", "sharded", "sharded chunks"],
)
def test_token_vectors_learn_what_they_learn_in_one_process(runs: Runs, tokens: Ran, changes: dict[str, Any]) -> None:
    """The processes share the notes whose states give the start, so that this is compared as well."""
    assert "note_llm.tokens.weight" in tokens.gradients
    assert "tokens.weight" in tokens.parameters
    assert_same(runs("-".join(("two-tokens", *changes)), 2, **TOKENS, **changes), tokens)


def test_packed_token_vectors_are_those_of_padded_ones(runs: Runs, tokens: Ran) -> None:
    assert_same(runs("tokens-packed", 1, **TOKENS, compute__packed=True), tokens)


def test_the_comparison_can_fail(runs: Runs, full: Ran) -> None:
    """Another α gives other gradients, by more than the tolerance."""
    with pytest.raises(AssertionError):
        assert_same(runs("other", 1, loss__alpha=1.05), full)


def test_a_mean_over_each_process_would_be_noticed(runs: Runs, full: Ran) -> None:
    """The answers of the two processes' notes are not equally long."""
    with pytest.raises(AssertionError):
        assert_same(runs("own-mean", 2, ("--own-mean",)), full)


def test_a_mean_over_the_rows_of_each_process_would_be_noticed(runs: Runs, soft: Ran) -> None:
    """The two processes do not have equally many rows that count."""
    with pytest.raises(AssertionError):
        assert_same(runs("own-rows", 2, ("--own-rows",), **SOFT), soft)


def test_sharded_bfloat16_does_not_round_what_is_counted(runs: Runs, full: Ran) -> None:
    ran = runs(
        "sharded-bfloat16", 2, compute__fsdp=True, compute__precision="bfloat16", compute__chunk_examples=3,
        compute__gradient_checkpointing=True,
    )  # fmt: skip
    assert ran.inputs == {"output_tokens": {"float32"}, "embeddings": {"float32"}, "gradients": {"float32"}}
    assert ran.losses == pytest.approx(full.losses, rel=0.02)
    assert ran.losses != pytest.approx(full.losses, rel=1e-5)  # it was computed in bfloat16
    assert ran.temperatures == pytest.approx(full.temperatures, abs=2e-3)
