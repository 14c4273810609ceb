"""Whole runs of a tiny model: what they leave behind, and what is refused."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accelerate import PartialState
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]
from transformers import GPT2Config, ProgressCallback

from notellm import Checkpoint
from notellm.errors import NoteLLMError
from tests.training.runs import BEHAVIOUR, Config, losses
from training.config import TrainingConfig
from training.data import load_dataset
from training.errors import BaseModelError, ConfigError, DataError
from training.model import build
from training.run import git_revision, make_trainer, train


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"method": {"kind": "lora", "rank": 4}},
        {"method": {"kind": "full", "frozen_layers": 1}, "compute__cache_frozen_layers": True},
        {"compute__chunk_examples": 6},
        {"compute__packed": False, "compute__gradient_checkpointing": True},
        {"loss__alpha": 0},
        {"loss__contrastive": False, "optimizer__learning_rate": 5e-3},
        {"model__projection": "principal", "model__projection_notes": 40},
        {"model__prompt": {"version": "shared-en", "title_tokens": 15}},
        {"loss": {"targets": "cooccurrences", "contrast_hashtag_prompts": False}, "examples__pairs": "cooccurrences"},
        {"examples": {"pairs_per_batch": 3, "stay_within": "category"}, "validation__pairs": "cooccurrences"},
        {"optimizer": {"learning_rate": 1e-3, "average_share": 0.25}, "validation__keep_best": False},
        {"model__projection": "behaviour", "model__refit_projection": True},
        BEHAVIOUR | {"compute__chunk_examples": 6},
        BEHAVIOUR | {"method": {"kind": "lora", "rank": 4}, "model__refit_projection": True},
    ],
    ids=[
        "full",
        "lora",
        "frozen",
        "gradcache",
        "padded",
        "gcl-only",
        "csft-only",
        "principal",
        "shared-en",
        "cooccurrences",
        "within-category",
        "average",
        "behaviour",
        "token-vectors",
        "token-vectors-lora-refit",
    ],
)
def test_a_run_learns_and_leaves_a_checkpoint(run_config: Config, tmp_path: Path, changes: dict[str, Any]) -> None:
    config = run_config(examples__epochs=3, **changes)
    checkpoint = train(config, tmp_path / "run")
    assert checkpoint is not None
    reopened = Checkpoint.open(tmp_path / "run" / "checkpoint")
    assert reopened.manifest.dimensions == 16
    assert reopened.manifest.prompt == config.model.prompt
    curve = list(losses(tmp_path / "run").values())
    assert sum(curve[-3:]) < sum(curve[:3])


def test_a_second_run_in_the_same_directory_is_refused(run_config: Config, tmp_path: Path) -> None:
    config = run_config()
    with pytest.raises(ConfigError, match="has no complete checkpoint: start without --resume"):
        train(config, tmp_path / "run", resume=True)
    train(config, tmp_path / "run")
    with pytest.raises(NoteLLMError, match="checkpoint"):
        train(config, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoint")
    with pytest.raises(ConfigError, match="already contains a run: continue it with --resume"):
        train(config, tmp_path / "run")
    with pytest.raises(ConfigError, match=r"started with other settings \(optimizer\)"):
        train(run_config(optimizer__learning_rate=2e-3), tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model__dimensions": 64}, BaseModelError, "model.dimensions 64 is larger than the base's hidden size of 48"),
        ({"model__base": "/nowhere/at/all"}, BaseModelError, "/nowhere/at/all cannot be loaded as a base model"),
        ({"model__base": "package:no_such_package/file.gguf"}, BaseModelError, "no_such_package is not installed"),
        ({"method": {"kind": "lora", "frozen_layers": 3}}, ConfigError, "method.frozen_layers is 3, but the base has only 3 layers"),
        ({"method": {"kind": "lora", "modules": ["query"]}}, ConfigError, "method.modules query"),
        ({"data__notes": "missing.jsonl"}, DataError, "missing.jsonl"),
        ({"data__events": "missing.csv"}, DataError, "missing.csv is missing"),
        ({"data__pairs": {"min_users": 1000}}, DataError, "give no related pair of training notes"),
        ({"examples__pairs_per_batch": 40}, DataError, "do not fill one batch of 40 pairs"),
        ({"data__pairs": {"window_hours": 24}}, DataError, "has positions but no times"),
        ({"validation__k": 6}, ConfigError, "validation.k 6 finds every note of a pool of 7 validation notes: lower validation.k"),
        (
            {"examples__stay_within": "category", "examples__pairs_per_batch": 100},
            DataError,
            "pairs within a category do not fill one batch of 100 pairs",
        ),
        ({"compute__fsdp": True}, ConfigError, "start with `torchrun"),
        ({"run__report_to": ["wandb"]}, ConfigError, "the package wandb is not installed"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_refused_with_a_reason(
    run_config: Config, tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        train(run_config(**changes), tmp_path / "run")


def test_another_architecture_is_refused(run_config: Config, tiny_base: Path, tmp_path: Path) -> None:
    other = tmp_path / "gpt"
    shutil.copytree(tiny_base, other)
    GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=700).save_pretrained(other)
    with pytest.raises(BaseModelError, match="is a gpt2 model: the base must be a LlamaForCausalLM"):
        train(run_config(model__base=str(other)), tmp_path / "run")


def test_tensorboard_gets_the_curves(run_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(run_config(run__report_to=["tensorboard"]), tmp_path / "run")
    drawn = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    curve = {event.step: event.value for event in drawn.Scalars("train/loss")}
    assert curve == pytest.approx(losses(tmp_path / "run"), rel=1e-6)
    assert {"train/loss_contrastive", "train/loss_generative", "train/temperature", "eval/recall@3"} <= set(
        drawn.Tags()["scalars"]
    )


def test_each_weight_has_its_learning_rate_and_decay(run_config: Config, tmp_path: Path) -> None:
    config = run_config(optimizer={"learning_rate": 1e-3, "head_learning_rate": 5e-3, "weight_decay": 0.1})
    dataset = load_dataset(config.data)
    trainer = make_trainer(config, dataset, build(config, dataset), tmp_path)
    assert any(isinstance(callback, ProgressCallback) for callback in trainer.callback_handler.callbacks)
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    settings = {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in trainer.create_optimizer().param_groups
        for parameter in group["params"]
    }
    assert settings["temperature.log_scale"] == (5e-3, 0.0)
    assert settings["note_llm.projection.weight"] == (5e-3, 0.1)
    assert settings["note_llm.causal_lm.model.norm.weight"] == (1e-3, 0.0)
    assert settings["note_llm.causal_lm.model.layers.0.mlp.up_proj.weight"] == (1e-3, 0.1)
    assert set(settings) == {name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}


def test_no_test_note_leaves_a_trace_and_shared_hashtags_may(run_config: Config, tmp_path: Path) -> None:
    """Neither in batches nor in what a checkpoint knows; a hashtag that training notes have too may be known."""
    config = run_config(model__projection="principal")
    split = load_dataset(config.data).split
    own = ((split.train, "learnt"), (split.validation, "held"), (split.test, "hidden"))
    notes = tmp_path / "notes.jsonl"
    lines = [json.loads(line) for line in config.data.notes.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        line["hashtags"] += ["shared", *(tag for ids, tag in own if line["id"] in ids)]
    notes.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    checkpoint = train(config.model_copy(update={"data": config.data.model_copy(update={"notes": notes})}), tmp_path / "run")
    assert checkpoint is not None
    vocabulary = checkpoint.manifest.hashtag_vocabulary
    assert {"shared", "learnt"} <= set(vocabulary)
    assert not {"held", "hidden"} & set(vocabulary)


def test_the_checkpoint_remembers_how_it_was_made(run_config: Config, tmp_path: Path) -> None:
    config = run_config(seed=5, compute__precision="auto")
    checkpoint = train(config, tmp_path / "run")
    assert checkpoint is not None
    record = json.loads((checkpoint.path / "training.json").read_text(encoding="utf-8"))
    assert record["config"]["seed"] == 5
    assert record["config"]["compute"]["precision"] in ("float32", "bfloat16")  # what was computed in, not "auto"
    assert "notes" not in record["config"]["data"]
    assert record["code_revision"] == git_revision() is not None
    assert checkpoint.manifest.data_fingerprint == load_dataset(config.data).fingerprint
    assert checkpoint.manifest.categories == ("beer", "coffee", "quantum", "travel")
    saved = TrainingConfig.load(tmp_path / "run" / "config.yaml")
    assert saved.compute.precision == record["config"]["compute"]["precision"]
    compute = config.compute.model_copy(update={"precision": saved.compute.precision})
    assert saved == config.model_copy(update={"compute": compute})  # nothing else differs
    assert "small" in (checkpoint.path / "README.md").read_text(encoding="utf-8")


def test_only_the_first_process_writes_the_files_of_a_run(
    run_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = run_config()
    dataset = load_dataset(config.data)
    built = build(config, dataset)
    for first in (False, True):
        monkeypatch.setattr(PartialState, "is_main_process", first)
        make_trainer(config, dataset, built, tmp_path / "run")
        assert (tmp_path / "run" / "config.yaml").exists() is first
        assert (tmp_path / "run" / "data.txt").exists() is first


def test_token_vectors_are_trained_and_served(run_config: Config, tmp_path: Path) -> None:
    """Their start is the closed form's; training moves them, and the checkpoint has what was trained, in half precision."""
    config = run_config(**BEHAVIOUR)
    dataset = load_dataset(config.data)
    start = build(config, dataset).model.note_llm.tokens
    checkpoint = train(config, tmp_path / "run")
    assert checkpoint is not None
    trained = checkpoint.load_token_vectors()
    assert start is not None
    assert trained is not None
    assert np.array_equal(start.terms.rows, trained.terms.rows)
    moved = (start.weight - trained.weight).abs().max()
    assert 1e-4 < moved < 0.1


def test_the_better_of_the_trained_and_the_solved_projection_stays(
    run_config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A learning rate that ruins the trained one; with none at all, the start is already the solution."""
    caplog.set_level("INFO", "training")
    ruined: dict[str, Any] = {"optimizer": {"learning_rate": 1e-9, "head_learning_rate": 5.0}, "validation__keep_best": False}
    kept: dict[str, str] = {}
    same: dict[str, Any] = {"optimizer": {"learning_rate": 1e-9}}
    for name, changes in {"ruined": ruined, "same": same}.items():
        caplog.clear()
        assert train(run_config(**BEHAVIOUR, **changes, model__refit_projection=True), tmp_path / name)
        (line,) = (record.getMessage() for record in caplog.records if "projection stays" in record.getMessage())
        kept[name] = line.rpartition("the ")[2]
    assert kept == {"ruined": "solved projection stays", "same": "trained projection stays"}


def test_too_few_pairs_are_refused_before_the_model_is_loaded(run_config: Config, tmp_path: Path) -> None:
    """Its start may take minutes."""
    with pytest.raises(DataError, match="do not fill one batch of 1000 pairs"):
        train(run_config(examples__pairs_per_batch=1000, model__base="nowhere.gguf"), tmp_path / "run")
