"""What a run learns of how much the model and stored notes count for a hashtag."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from notellm import Checkpoint
from notellm.hashtags import HashtagSuggestion
from notellm.saving import CheckpointFacts
from training.config import TrainingConfig
from training.data import Dataset, load_dataset
from training.run import train
from training.suggesting import StoredNotes, suggested_hashtags
from training.weighing import hashtag_evidence


@pytest.fixture
def half(run_config: Callable[..., TrainingConfig]) -> TrainingConfig:
    """Settings in which half of the notes are validation notes."""
    settings = run_config()
    split = settings.data.split.model_copy(update={"validation": 0.5, "test": 0.1})
    return settings.model_copy(update={"data": settings.data.model_copy(update={"split": split})})


def with_judges(settings: TrainingConfig, notes: int) -> TrainingConfig:
    return settings.model_copy(update={"validation": settings.validation.model_copy(update={"hashtag_notes": notes})})


def right(suggested: list[list[HashtagSuggestion]], dataset: Dataset, ids: list[str]) -> float:
    """The share of first suggestions that are right."""
    first = zip((tags[0].hashtag for tags in suggested), (dataset.notes[note].hashtags for note in ids), strict=True)
    return sum(tag in given for tag, given in first) / len(ids)


def test_weights_suggest_better_than_the_model_alone(half: TrainingConfig, tiny: Checkpoint) -> None:
    dataset = load_dataset(half.data)
    model, prompt = tiny.load_model(), tiny.prompt()
    model.causal_lm.train()  # as after training
    weights = hashtag_evidence(half, dataset, model, prompt)
    assert weights is not None
    stored = StoredNotes(tiny.load_model(), prompt, [dataset.notes[note] for note in sorted(dataset.split.train)])
    ids = sorted(dataset.split.validation)
    judged = [dataset.notes[note] for note in ids]
    alone = [list(one.found[:1]) for one in stored.evidence(judged)]
    assert right(suggested_hashtags(stored, weights, judged, 1), dataset, ids) > 0.9 > right(alone, dataset, ids)


@pytest.mark.parametrize(("notes", "learns"), [(400, True), (30, True), (29, False), (0, False)])
def test_it_needs_enough_validation_notes(notes: int, learns: bool, half: TrainingConfig, tiny: Checkpoint) -> None:
    dataset = load_dataset(half.data)
    assert len(dataset.split.validation) > 30
    weights = hashtag_evidence(with_judges(half, notes), dataset, tiny.load_model(), tiny.prompt())
    assert (weights is not None) == learns


def test_a_run_without_hashtags_learns_nothing(half: TrainingConfig, tiny: Checkpoint) -> None:
    dataset = load_dataset(half.data)
    bare: dict[str, Any] = {id_: note.model_copy(update={"hashtags": ()}) for id_, note in dataset.notes.items()}
    for note in dataset.split.validation:
        bare[note] = dataset.notes[note]
    object.__setattr__(dataset, "notes", bare)
    assert hashtag_evidence(half, dataset, tiny.load_model(), tiny.prompt()) is None


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("again", [False, True], ids=["kept", "gradient-checkpointing"])
def test_a_run_writes_what_it_learns_into_checkpoint_and_adapter(
    method: str, precision: str, again: bool, run_config: Callable[..., TrainingConfig], half: TrainingConfig, tmp_path: Path
) -> None:
    compute = {"packed": True, "precision": precision, "threads": 1, "gradient_checkpointing": again}
    settings = run_config(method={"kind": method}, compute=compute)
    checkpoint = train(settings.model_copy(update={"data": half.data}), tmp_path / "run")
    assert checkpoint is not None
    weights = checkpoint.manifest.hashtag_evidence
    assert weights is not None
    if method == "lora":
        facts = CheckpointFacts.model_validate_json((tmp_path / "run" / "adapter" / "facts.json").read_text(encoding="utf-8"))
        assert facts.hashtag_evidence == weights
