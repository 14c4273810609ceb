"""`notellm-train fit-projection`: from a base model and from a checkpoint, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from notellm import Checkpoint
from tests.training.commands.conftest import Command

Write = Callable[..., Path]
FITTED = ("--set", "model.projection=behaviour", "--set", "model.token_vectors=true")


def test_a_base_model_learns_from_the_log(command: Command, config_file: Write, tmp_path: Path) -> None:
    code, out, _ = command("fit-projection", config_file(), tmp_path / "made", *FITTED)
    assert code == 0
    checkpoint = Checkpoint.open(tmp_path / "made")
    ((metric, value),) = checkpoint.manifest.metrics.items()
    assert metric.startswith("validation_cooccurrence_recall@")
    assert out[-1] == f"{tmp_path / 'made'}: small, 16 dimensions, {metric} {value:.3f}"
    assert checkpoint.load_token_vectors() is not None
    assert checkpoint.manifest.categories == ("beer", "coffee", "quantum", "travel")
    record = json.loads((checkpoint.path / "training.json").read_text(encoding="utf-8"))
    assert record["config"]["data"]["split"]["test"] == 0.2  # evaluation checks it
    assert record["fitted"] == "projection"


def test_a_checkpoint_keeps_its_language_model(command: Command, config_file: Write, tokens_path: Path, tmp_path: Path) -> None:
    code, _, _ = command("fit-projection", config_file(name="again"), tmp_path / "made", "--checkpoint", tokens_path)
    assert code == 0
    made, source = Checkpoint.open(tmp_path / "made"), Checkpoint.open(tokens_path)
    assert made.manifest.files["model.safetensors"] == source.manifest.files["model.safetensors"]
    assert made.manifest.name == "again"
    assert made.load_token_vectors() is None  # not asked for
    record = json.loads((made.path / "training.json").read_text(encoding="utf-8"))
    assert record["fitted_checkpoint"]["name"] == "with-tokens"
    assert record["fitted_checkpoint"]["config"]["data"]["split"]["test"] == 0.2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model__dimensions": 2000},
            "notellm-train: 48 features give fewer than 2000 directions: use more features or fewer dimensions",
        ),
        ({"model__token_vectors": True}, "token_vectors needs projection: behaviour"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    changes: dict[str, object], message: str, command: Command, config_file: Write, tmp_path: Path
) -> None:
    code, _, err = command("fit-projection", config_file(**changes), tmp_path / "made")
    assert code == 1
    assert message in err[-1]
    assert not (tmp_path / "made").exists()


def test_nothing_is_overwritten(command: Command, config_file: Write, tokens_path: Path) -> None:
    code, _, err = command("fit-projection", config_file(), tokens_path)
    assert code == 1
    assert "already exists" in err[-1]
