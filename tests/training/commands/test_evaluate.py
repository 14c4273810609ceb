"""`notellm-train evaluate` from files to report, on a small platform."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from notellm import Checkpoint
from training.cli import main
from training.config import TrainingConfig
from training.data import read_notes
from training.evaluation.embedding import LoadedCheckpoint, embed
from training.run import train

RANKED = ("tfidf", "tfidf-characters", "bm25", "words-linear", "tokens-linear", "popularity", "random-within-category")
BASELINES = (
    *RANKED,
    "item2vec",
    "prompteol",
    "prompteol-centred",
    "most-frequent-tags",
    "tfidf-neighbour-tags",
    "words-in-text",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, run_config: Callable[..., TrainingConfig]) -> Path:
    run = tmp_path_factory.mktemp("evaluate") / "run"
    train(run_config(), run)
    return run


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", ["notellm-train", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    if ended.value.code:
        raise ended.value


@pytest.fixture
def options() -> list[str]:
    return [part for name in BASELINES for part in ("--baseline", name)]


def test_a_report_is_written(
    trained: Path, config_file: Callable[..., Path], tmp_path: Path, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    report = tmp_path / "report"
    command(monkeypatch, "evaluate", config_file(), report, "--model", f"notellm={trained}", *options)
    text = (report / "report.md").read_text(encoding="utf-8")
    assert f"`notellm-train evaluate {config_file()} {report} --model notellm={trained} --baseline tfidf" in text
    for heading in (
        "Related notes",
        "Paired differences, recall@10",
        "Hashtags",
        "Categories",
        "Throughput",
        "same category",
        "Not available to a new note",
    ):
        assert heading in text
    metrics = json.loads((report / "metrics.json").read_text(encoding="utf-8"))
    assert set(metrics["recall@10"]) == {"notellm", "prompteol", "prompteol-centred", *RANKED}
    gap = metrics["recall@10"]["notellm"]["minus"]["tfidf"]
    assert gap["value"] == pytest.approx(metrics["recall@10"]["notellm"]["value"] - metrics["recall@10"]["tfidf"]["value"])
    assert metrics["own pool item2vec"]["recall@10"]["value"] > 0
    assert metrics["category illusion"]["prompteol"]["value"] > 0
    ranked = {f"{name}, ranked" for name in ("notellm", "prompteol", "prompteol-centred")}
    assert set(metrics["hashtags f1@3"]) == {*BASELINES, "notellm", *ranked} - {*RANKED, "item2vec"}
    for figure in ("recall-at-k.png", "recall-by-exposure.png", "training.png"):
        assert (report / figure).read_bytes().startswith(b"\x89PNG")


def test_what_was_measured_is_kept(
    trained: Path, config_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = tmp_path / "report"
    command(monkeypatch, "evaluate", config_file(), report, "--baseline", "tfidf")
    before = (report / "measurements" / "tfidf.json").read_bytes()
    command(monkeypatch, "evaluate", config_file(), report, "--baseline", "bm25", "--model", f"zero={trained / 'checkpoint'}")
    assert (report / "measurements" / "tfidf.json").read_bytes() == before
    assert set(json.loads((report / "metrics.json").read_text())["mrr"]) == {"tfidf", "bm25", "zero"}


def test_recall_within_the_category(
    trained: Path, config_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = tmp_path / "report"
    options = ("--baseline", "tfidf", "--baseline", "random-within-category")
    command(monkeypatch, "evaluate", config_file(), report, "--baseline", "bm25")
    command(monkeypatch, "evaluate", config_file(), report, "--within", "category", *options)
    metrics = json.loads((report / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["pairs within category"] == metrics["pairs"]  # on this platform, users keep to a topic
    assert set(metrics["recall@10 within category"]) == {"tfidf", "random-within-category"}
    assert "## Within the asking note's category" in (report / "report.md").read_text(encoding="utf-8")


def test_hashtags_as_notes_arrive(
    config_file: Callable[..., Path], platform: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each note is used when it appears; two of five notes are for training."""
    rows = [line.split(",") for line in (platform / "events.csv").read_text(encoding="utf-8").split()[1:]]
    appeared = {note: 1_700_000_000 + 1000 * place for place, note in enumerate(dict.fromkeys(note for _, note, _ in rows))}
    lines = [f"{user},{note},{appeared[note] + int(position)}" for user, note, position in rows]
    (tmp_path / "events.csv").write_text("\n".join(["user,note,time", *lines]), encoding="utf-8")
    settings = config_file(
        data__events=str(tmp_path / "events.csv"), data__split={"kind": "time", "validation": 0.4, "test": 0.2}
    )
    run, report = tmp_path / "run", tmp_path / "report"
    methods = ("tfidf-neighbour-tags", "tfidf-evidence")
    command(monkeypatch, "train", settings, run)
    options = [part for name in methods for part in ("--baseline", name)]
    command(monkeypatch, "evaluate", settings, report, "--model", f"notellm={run}", *options)
    metrics = json.loads((report / "metrics.json").read_text(encoding="utf-8"))
    assert set(metrics["arriving hashtags f1"]) == {"notellm", *methods}
    assert "## Hashtags as notes arrive" in (report / "report.md").read_text(encoding="utf-8")


def test_several_runs_of_a_method(
    trained: Path, run_config: Callable[..., TrainingConfig], config_file: Callable[..., Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    second, other, report = tmp_path / "second", tmp_path / "other", tmp_path / "report"
    train(run_config(seed=1), second)
    train(run_config(seed=2, loss__alpha=0.5), other)
    command(monkeypatch, "evaluate", config_file(), report, "--model", f"m={trained}", "--baseline", "tfidf")
    command(monkeypatch, "evaluate", config_file(), report, "--model", f"m={trained},{second}", "--baseline", "bm25")
    kept = {path.stem for path in (report / "measurements").iterdir()}
    assert kept == {"m.seed0", "m.seed1", "tfidf", "bm25"}
    ranks = [json.loads((report / "measurements" / f"m.seed{seed}.json").read_text())["ranks"] for seed in (0, 1)]
    metrics = json.loads((report / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["recall@10"]["m"]["value"] == pytest.approx(
        sum(rank <= 10 for one in ranks for rank in one) / 2 / len(ranks[0])
    )
    assert "mean of 2 runs (seeds 0, 1)" in (report / "report.md").read_text(encoding="utf-8")
    for place, message in ((other, "the runs differ in loss"), (trained, "two runs have the same seed")):
        with pytest.raises(SystemExit):
            command(monkeypatch, "evaluate", config_file(), report, "--model", f"m={trained}", "--model", f"m={place}")
        assert message in capsys.readouterr().err
    assert {path.stem for path in (report / "measurements").iterdir()} == kept


@pytest.mark.parametrize(
    ("changes", "model", "message"),
    [
        ({}, "notellm", "write NAME=DIRECTORY"),
        ({}, "a=/nowhere", "/nowhere"),
        ({"data__split": {"test": 0.0}}, "notellm=RUN", "the 0 test notes have no related pair"),
        ({"data__split": {"seed": 1, "validation": 0.2, "test": 0.2}}, "notellm=RUN", "was trained on a different split"),
        ({}, "notellm=OTHER", "was trained on different data"),
    ],
)  # fmt: skip
def test_what_cannot_be_evaluated_is_refused(
    trained: Path, config_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], changes: dict[str, Any], model: str, message: str,
) -> None:  # fmt: skip
    if "OTHER" in model:
        fewer = tmp_path / "notes.jsonl"
        notes = (Path(TrainingConfig.load(trained / "config.yaml").data.notes)).read_text().replace("number 0", "number zero")
        fewer.write_text(notes)
        changes = changes | {"data__notes": str(fewer)}
    place = model.replace("RUN", str(trained)).replace("OTHER", str(trained))
    with pytest.raises(SystemExit):
        command(monkeypatch, "evaluate", config_file(**changes), tmp_path / "report", "--baseline", "tfidf", "--model", place)
    assert message in capsys.readouterr().err


def test_throughput_is_that_of_the_pool(trained: Path, platform: Path) -> None:
    notes = list(read_notes(platform / "notes.jsonl"))
    loaded = LoadedCheckpoint("x", Checkpoint.open(trained / "checkpoint"))
    embedded = embed(loaded, notes)
    assert embedded.vectors.shape == (len(notes), 16)
    assert embedded.notes_per_second == pytest.approx(len(notes) / embedded.seconds)
    assert "float32" in embedded.machine


def test_another_sample_of_notes_is_refused_before_anything_is_measured(
    config_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report"
    tags = ("--baseline", "most-frequent-tags")
    command(monkeypatch, "evaluate", config_file(), report, *tags, "--generated-notes", "5")
    text = (report / "report.md").read_text(encoding="utf-8")
    assert "## Hashtags" in text
    assert "Related notes" not in text
    with pytest.raises(SystemExit):
        command(monkeypatch, "evaluate", config_file(), report, "--baseline", "tfidf-neighbour-tags", "--generated-notes", "7")
    assert (
        "most-frequent-tags was measured on the hashtags of 5 notes, but --generated-notes 7 gives 6" in capsys.readouterr().err
    )
    assert [path.stem for path in (report / "measurements").iterdir()] == ["most-frequent-tags"]
    command(monkeypatch, "evaluate", config_file(), report, *tags, "--generated-notes", "7")  # all of it anew


def test_the_parts_of_vectors_are_measured(
    tokens_path: Path, config_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the model stand its hidden states alone and its token vectors alone."""
    report = tmp_path / "report"
    nothing = ("--generated-notes", 0)
    command(monkeypatch, "evaluate", config_file(), report, "--baseline", "tfidf", "--model", f"m={tokens_path}", *nothing)
    metrics = json.loads((report / "metrics.json").read_text(encoding="utf-8"))
    assert set(metrics["mrr"]) == {"m", "m-state-only", "m-tokens-only", "tfidf"}
    assert len({metrics["mrr"][name]["value"] for name in ("m", "m-state-only", "m-tokens-only")}) == 3
    text = (report / "report.md").read_text(encoding="utf-8")
    assert "**m-tokens-only**: m: the same vectors without the language model" in text
    assert not [name for name in metrics if name.startswith(("hashtags", "category accuracy"))]  # nothing was generated
    command(monkeypatch, "evaluate", config_file(), report, "--model", f"m={tokens_path}", "--baseline", "bm25", *nothing)
    assert set(json.loads((report / "metrics.json").read_text())["mrr"]) == {
        "m",
        "m-state-only",
        "m-tokens-only",
        "tfidf",
        "bm25",
    }


def test_a_projection_that_was_fitted_again_does_not_hide_what_the_model_was_trained_on(
    tokens_path: Path,
    config_file: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    split = {"seed": 1, "validation": 0.2, "test": 0.2}
    config = config_file(data__split=split)
    command(monkeypatch, "fit-projection", config, tmp_path / "again", "--checkpoint", tokens_path)
    with pytest.raises(SystemExit):
        command(
            monkeypatch, "evaluate", config, tmp_path / "report", "--baseline", "tfidf", "--model", f"m={tmp_path / 'again'}"
        )
    assert "was trained on a different split" in capsys.readouterr().err
