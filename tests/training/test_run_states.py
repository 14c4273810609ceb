"""Which state of a run becomes the checkpoint, and how a run stops and goes on."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState

from tests.training.runs import BEHAVIOUR, Config, StopAt, add_callback, log, losses, parameters
from training.data import load_dataset
from training.model import build
from training.run import make_trainer, train

AVERAGE = {"optimizer": {"learning_rate": 1e-3, "average_share": 0.5}, "validation__keep_best": False}


@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ({"method": {"kind": "full"}}, 3),
        ({"method": {"kind": "lora", "rank": 4, "dropout": 0.1}}, 3),
        (AVERAGE, 3),
        (AVERAGE, 6),
        (BEHAVIOUR, 3),
        ({"loss__memory": 30}, 3),
    ],
    ids=["full", "lora", "before the average", "within the average", "token vectors", "memory"],
)
def test_a_stopped_run_goes_on_as_if_nothing_had_happened(
    run_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], step: int
) -> None:
    config = run_config(**({"validation__every_steps": 100} | changes))
    assert train(config, tmp_path / "whole") is not None
    with monkeypatch.context() as patch:
        add_callback(patch, StopAt(step))
        assert train(config, tmp_path / "stopped") is None
    assert not (tmp_path / "stopped" / "checkpoint").exists()
    assert train(config, tmp_path / "stopped", resume=True) is not None
    assert losses(tmp_path / "stopped") == pytest.approx(losses(tmp_path / "whole"), rel=1e-6)
    expected = parameters(tmp_path / "whole")
    for name, value in parameters(tmp_path / "stopped").items():
        # The optimiser turns rounding of tiny gradients, as after a solved start, into small steps; other weights would differ by 1e-3.
        torch.testing.assert_close(
            value, expected[name], rtol=0, atol=5e-5 if "model__projection" in changes else 1e-6, msg=name
        )


def test_a_run_stops_early_and_keeps_the_best(run_config: Config, tmp_path: Path) -> None:
    """A learning rate that ruins the model: recall does not improve, and the first checkpoint wins."""
    config = run_config(
        examples__epochs=8, optimizer__learning_rate=0.5, optimizer__warmup_share=0.0, validation__patience=2,
        validation__every_steps=1,
    )  # fmt: skip
    checkpoint = train(config, tmp_path / "run")
    assert checkpoint is not None
    lines = log(tmp_path / "run")
    recalls = [line["validation_recall@3"] for line in lines if "validation_recall@3" in line]
    assert max(line["step"] for line in lines) < 40
    assert checkpoint.manifest.metrics["validation_recall@3"] == pytest.approx(max(recalls))


class RememberWeights(TrainerCallback):
    """The trained weights whenever they are measured."""

    def __init__(self) -> None:
        self.measured: list[dict[str, torch.Tensor]] = []

    def on_evaluate(self, args: Any, state: TrainerState, control: TrainerControl, model: Any = None, **_: Any) -> None:
        self.measured.append({name: value.detach().clone() for name, value in model.note_llm.named_parameters()})


@pytest.mark.parametrize(
    ("recalls", "best"), [((0.2, 0.3, 0.25, 0.28), 1), ((0.2, 0.3, 0.25, 0.35), 3), ((0.3, 0.2, 0.1, 0.1), 0)]
)
def test_the_state_of_the_best_recall_becomes_the_checkpoint(
    run_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recalls: tuple[float, ...], best: int
) -> None:
    scripted, remember = iter(recalls), RememberWeights()
    monkeypatch.setattr("training.batches.validation_pool.recall", lambda *_: next(scripted))
    add_callback(monkeypatch, remember)
    config = run_config(validation__every_steps=2, validation__patience=9, run__keep=1)
    checkpoint = train(config, tmp_path / "run")
    assert checkpoint is not None
    assert checkpoint.manifest.metrics["validation_recall@3"] == recalls[best]
    assert len(remember.measured) == len(recalls)
    kept = parameters(tmp_path / "run")
    for name, value in remember.measured[best].items():
        torch.testing.assert_close(kept[name], value, rtol=0, atol=1e-6, msg=name)
    others = [index for index in range(len(recalls)) if index != best]
    for other in others:
        assert any(not torch.equal(kept[name], value) for name, value in remember.measured[other].items())


@pytest.mark.slow("up to four whole runs")
def test_a_run_may_keep_its_last_state(run_config: Config, tmp_path: Path) -> None:
    """The same ruinous learning rate: the run goes on to its end all the same, and what it came to is what is kept.

    So few notes that the last recall may happen to be the best one, which would prove nothing: another seed then.
    """
    for seed in range(4):
        config = run_config(
            examples__epochs=8, optimizer__learning_rate=0.5, optimizer__warmup_share=0.0, validation__patience=2,
            validation__every_steps=1, validation__keep_best=False, validation__k=1, seed=seed,
        )  # fmt: skip
        checkpoint = train(config, tmp_path / f"run-{seed}")
        assert checkpoint is not None
        lines = log(tmp_path / f"run-{seed}")
        recalls = [line["validation_recall@1"] for line in lines if "validation_recall@1" in line]
        assert len(recalls) == max(line["step"] for line in lines) > 2 * config.validation.patience
        assert checkpoint.manifest.metrics["validation_recall@1"] == pytest.approx(recalls[-1])
        if recalls[-1] < max(recalls):
            return
    pytest.fail("the last recall was the best one with every seed")


class RememberSteps(TrainerCallback):
    """The trained weights after each step."""

    def __init__(self) -> None:
        self.weights: list[dict[str, torch.Tensor]] = []

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, model: Any = None, **_: Any) -> None:
        self.weights.append({name: value.detach().clone() for name, value in model.note_llm.named_parameters()})


def assert_is_mean(kept: dict[str, torch.Tensor], weights: list[dict[str, torch.Tensor]]) -> None:
    for name, value in kept.items():
        torch.testing.assert_close(
            value, torch.stack([one[name] for one in weights]).mean(dim=0), rtol=1e-5, atol=1e-6, msg=name
        )


def test_the_mean_of_the_last_states_becomes_the_checkpoint(
    run_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last state is measured and written, even if no measurement was due at its step."""
    remember = RememberSteps()
    add_callback(monkeypatch, remember)
    config = run_config(**AVERAGE, validation__every_steps=5)
    checkpoint = train(config, tmp_path / "run")
    assert checkpoint is not None
    steps = len(remember.weights)
    assert steps % 5
    assert_is_mean(parameters(tmp_path / "run"), remember.weights[steps // 2 :])
    lines = [line for line in log(tmp_path / "run") if "validation_recall@3" in line]
    assert [line["step"] for line in lines] == [5, steps]
    measured = dict(checkpoint.manifest.metrics)
    assert measured == {"validation_recall@3": lines[-1]["validation_recall@3"]}
    dataset = load_dataset(config.data)
    trainer = make_trainer(config, dataset, built := build(config, dataset), tmp_path / "again")
    built.model.note_llm.load_state_dict(checkpoint.load_model().state_dict())
    assert trainer.evaluate()["eval_recall@3"] == pytest.approx(measured["validation_recall@3"])


def test_the_mean_is_made_up_for_when_only_the_checkpoint_is_missing(run_config: Config, tmp_path: Path) -> None:
    config = run_config(**AVERAGE)
    train(config, tmp_path / "run")
    before = parameters(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoint")
    assert train(config, tmp_path / "run", resume=True) is not None
    for name, value in parameters(tmp_path / "run").items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0, msg=name)


def test_a_measurement_has_its_standard_error(run_config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(run_config(validation__pairs="cooccurrences"), tmp_path / "run")
    lines = [line for line in log(tmp_path / "run") if "validation_recall@3" in line]
    assert lines
    assert all(0 <= line["validation_standard_error@3"] < 0.5 for line in lines)
    assert "eval_standard_error@3" in capsys.readouterr().out
