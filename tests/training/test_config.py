"""The settings of a run: every shipped file fits the class, and every refusal says what is wrong."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from training.config import FullSettings, LoraSettings, TrainingConfig
from training.errors import ConfigError
from training.loss_settings import LossSettings
from training.model.building import is_packed

CONFIGS = sorted((Path(__file__).parents[2] / "training" / "configs").glob("*.yaml"))
Write = Callable[..., Path]


def test_there_are_configs() -> None:
    assert CONFIGS


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_loads(path: Path) -> None:
    config = TrainingConfig.load(path)
    assert config.name


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_is_read_back_as_it_was_saved(path: Path, tmp_path: Path) -> None:
    config = TrainingConfig.load(path)
    config.save(tmp_path / "saved.yaml")
    assert TrainingConfig.load(tmp_path / "saved.yaml") == config
    written = yaml.safe_load((tmp_path / "saved.yaml").read_text(encoding="utf-8"))
    assert written["optimizer"].keys() == type(config.optimizer).model_fields.keys()  # defaults are written out


def test_kept_lower_layers_are_packed_on_every_device(config_file: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    config = TrainingConfig.load(config_file())
    assert not is_packed(config)
    kept = TrainingConfig.load(config_file(), ["method={kind: full, frozen_layers: 1}", "compute.cache_frozen_layers=true"])
    assert is_packed(kept)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert is_packed(config)


def test_overrides_win_and_are_yaml(config_file: Write) -> None:
    overrides = [
        "name=other",
        "examples.epochs=3",
        "data.split.test=0.3",
        "data.pairs.view_events=[view, click]",
        "optimizer.head_learning_rate=1.0e-4",
        "validation.patience=2",
        "method={kind: lora, rank: 4}",
        "method.rank=2",  # the later one counts
        "loss.contrastive=false",
    ]
    config = TrainingConfig.load(config_file(), overrides)
    assert (config.name, config.examples.epochs, config.data.split.test) == ("other", 3, 0.3)
    assert config.data.pairs.view_events == ("view", "click")
    assert (config.optimizer.head_learning_rate, config.validation.patience) == (1e-4, 2)
    assert config.method == LoraSettings(rank=2)
    assert config.loss == LossSettings(contrastive=False)
    assert TrainingConfig.load(config_file(), ["optimizer.head_learning_rate=null"]).optimizer.head_learning_rate is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "'seed' must have the form name.field=value"),
        ("name.more=1", "name.more: name is not a section"),
        ("examples.epochs.more=1", "examples.epochs.more: epochs is not a section"),
        ("seed=[1", r"seed: '\[1' is not a YAML value"),
        ("examples.epoch=2", "examples.epoch: Extra inputs are not permitted"),
        ("nothing=2", "nothing: Extra inputs are not permitted"),
        ("examples.epochs=many", "examples.epochs: Input should be a valid integer"),
        ("examples.epochs=0", "examples.epochs: Input should be greater than or equal to 1"),
        ("examples.hashtag_share=2", "examples.hashtag_share: Input should be less than or equal to 1"),
        ("optimizer.schedule=step", "optimizer.schedule: Input should be 'linear', 'cosine' or 'constant_with_warmup'"),
        ("method.kind=prefix", "method: Input tag 'prefix' .* does not match any of the expected tags: 'lora', 'full'"),
        ("method.kind=null", "method: "),
        ("method={rank: 8}", "method: Unable to extract tag"),
        ("method={kind: full, rank: 8}", "method.full.rank: Extra inputs are not permitted"),
        ("run.report_to=[mlflow]", r"run.report_to.0: Input should be 'tensorboard' or 'wandb'"),
        ("data=null", "data: Input should be"),
        ("data.split.test=0.9", r"data.split: Value error, validation 0\.2 and test 0\.9 leave no notes to train on"),
        ("data.pairs.min_score=50", "data.pairs: Value error, min_score 50.0 is above max_score 30.0"),
        (
            "loss={alpha: 0, contrastive: false}",
            "loss: Value error, contrastive is false and alpha is 0: this leaves no loss to train with",
        ),
    ],
)
def test_a_wrong_setting_is_named(config_file: Write, override: str, message: str) -> None:
    path = config_file(method={"kind": "full"}, examples__epochs=1)
    with pytest.raises(ConfigError, match=message):
        TrainingConfig.load(path, [override])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "compute.cache_frozen_layers needs method.frozen_layers above 0: there is nothing to cache"),
        (
            {"method": {"kind": "lora", "frozen_layers": 1}},
            "compute.cache_frozen_layers needs method.train_emb_row: false, because frozen layers read that row",
        ),
        ({"method": {"kind": "full", "frozen_layers": 1}, "compute__fsdp": True}, "needs packed batches on one device"),
        ({"method": {"kind": "full", "frozen_layers": 1}, "compute__packed": False}, "needs packed batches on one device"),
    ],
)
def test_what_a_cache_of_frozen_layers_needs(config_file: Write, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"settings: Value error, .*{message}"):
        TrainingConfig.load(config_file(compute__cache_frozen_layers=True, **changes))


@pytest.mark.parametrize(
    "method", [{"kind": "full", "frozen_layers": 1}, {"kind": "lora", "frozen_layers": 1, "train_emb_row": False}]
)
def test_a_cache_of_frozen_layers_that_fits(config_file: Write, method: dict[str, Any]) -> None:
    config = TrainingConfig.load(config_file(compute__cache_frozen_layers=True, method=method))
    assert config.compute.cache_frozen_layers


def test_packing_and_sharding_exclude_each_other(config_file: Write) -> None:
    assert TrainingConfig.load(config_file(compute__fsdp=True)).compute.packed is None
    with pytest.raises(ConfigError, match=r"compute\.packed and compute\.fsdp exclude each other: set packed: false"):
        TrainingConfig.load(config_file(compute__fsdp=True, compute__packed=True))


def test_an_average_of_the_last_states_is_not_the_best_state(config_file: Write) -> None:
    with pytest.raises(ConfigError, match=r"exclude each other: set validation\.keep_best: false, and the average becomes the"):
        TrainingConfig.load(config_file(optimizer__average_share=0.25))
    config = TrainingConfig.load(config_file(optimizer__average_share=0.25, validation__keep_best=False))
    assert config.optimizer.average_share == 0.25


def test_a_memory_holds_at_least_a_batch(config_file: Write) -> None:
    with pytest.raises(ConfigError, match=r"loss\.memory 15 does not hold the 16 notes of one batch"):
        TrainingConfig.load(config_file(loss__memory=15))
    assert TrainingConfig.load(config_file(loss__memory=16)).loss.memory == 16


def test_several_wrong_settings_are_named_at_once(config_file: Write) -> None:
    with pytest.raises(ConfigError) as error:
        TrainingConfig.load(config_file(name="has spaces in it"), ["seed=x", "run.keep=0"])
    assert [name for name in ("name: ", "seed: ", "run.keep: ") if name in str(error.value)] == [
        "name: ",
        "seed: ",
        "run.keep: ",
    ]


@pytest.mark.parametrize("field", ["name", "data", "model"])
def test_what_a_config_must_hold(config_file: Write, field: str) -> None:
    content = yaml.safe_load((path := config_file()).read_text(encoding="utf-8"))
    del content[field]
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(ConfigError, match=f"{field}: Field required"):
        TrainingConfig.load(path)


@pytest.mark.parametrize(
    ("text", "message"), [("", "contains no settings"), ("- a\n- b", "contains no settings"), ("a: [", "cannot be read")]
)
def test_files_that_hold_no_settings(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        TrainingConfig.load(tmp_path / "config.yaml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.yaml cannot be read"):
        TrainingConfig.load(tmp_path / "missing.yaml")


def test_defaults_are_those_of_the_paper(config_file: Write) -> None:
    config = TrainingConfig.load(config_file())
    assert (config.data.pairs.max_score, config.data.pairs.min_score, config.data.pairs.per_note) == (30, 0.01, 10)
    assert (config.examples.hashtag_share, config.loss.alpha, config.loss.temperature) == (0.4, 0.01, 3)
    assert TrainingConfig.model_fields["method"].default == FullSettings()
    assert (config.loss.targets, config.loss.contrast_hashtag_prompts, config.optimizer.average_share) == ("one_hot", True, 0)
    assert config.loss.memory == 0
    assert (config.examples.pairs, config.examples.stay_within, config.validation.pairs) == ("related", None, "related")


def sections(settings: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield settings
    for field in settings.model_fields.values():
        for inner in classes(field.annotation):
            yield from sections(inner)


def classes(annotation: Any) -> list[type[BaseModel]]:
    """The settings that a field is a section of."""
    parts = get_args(annotation) if get_origin(annotation) is UnionType or isinstance(annotation, UnionType) else (annotation,)
    return [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]


def is_setting(name: str, field: FieldInfo) -> bool:
    tag = name == "kind" and get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1
    return not classes(field.annotation) and not tag


def test_every_setting_is_described() -> None:
    every = [one for one in sections(TrainingConfig) if one.__module__.startswith("training.")]
    assert len(every) > 10
    assert {LoraSettings, FullSettings} <= {*every}
    settings = [(one, name, field) for one in every for name, field in one.model_fields.items() if is_setting(name, field)]
    assert [f"{one.__name__}.{name}" for one, name, field in settings if not field.description] == []
    assert all(one.__doc__ for one in every)
