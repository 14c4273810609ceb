"""A loss or a gradient that is no number ends the run, before it reaches the weights, and names the batch at fault."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState

from tests.training.runs import add_callback
from training.batches import BatchPlan
from training.config import TrainingConfig
from training.data import load_dataset
from training.errors import NonFiniteLossError
from training.loop.state import latest_state
from training.run import train

Config = Callable[..., TrainingConfig]


def test_a_loss_that_is_no_number_stops_the_run(run_config: Config, tmp_path: Path) -> None:
    with pytest.raises(
        NonFiniteLossError, match=r"the loss of batch \d+ is not a finite number \(its notes: \w+-\d+, .*learning_rate"
    ):
        train(
            run_config(optimizer__learning_rate=1e18, optimizer__warmup_share=0.0, optimizer__max_gradient_norm=1e18),
            tmp_path / "run",
        )


class Spoil(TrainerCallback):
    """Makes one weight no number before a step, or its gradient in that step."""

    def __init__(self, step: int, what: str) -> None:
        self.step, self.what = step, what

    def on_step_begin(self, args: Any, state: TrainerState, control: TrainerControl, model: Any = None, **_: Any) -> None:
        if state.global_step == self.step:
            weight = model.note_llm.causal_lm.model.norm.weight
            if self.what == "loss":
                weight.data[0] = torch.nan
            else:
                weight.register_hook(lambda gradient: gradient * torch.inf)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_it_is_the_batch_at_fault_that_is_named(
    run_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    add_callback(monkeypatch, Spoil(2, what))
    config = run_config(validation__every_steps=2)
    with pytest.raises(NonFiniteLossError, match=f"the {what} of batch 2 is not a finite number") as refusal:
        train(config, tmp_path / "run")
    dataset = load_dataset(config.data)
    plan = BatchPlan(dataset.pairs["train"], dataset.notes, config.examples, config.seed)
    assert plan[2].first[0].note in str(refusal.value)
    state = latest_state(tmp_path / "run" / "states")
    assert state is not None
    assert state.name == "checkpoint-2"
