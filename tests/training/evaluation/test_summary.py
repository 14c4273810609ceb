"""The pages of the repository claim what its reports say, and `summary.json` holds all of it."""

import json
from pathlib import Path

import pytest
import yaml

from training.errors import EvaluationError
from training.evaluation.summary import RESULTS, Claims, main, summary_of

METRICS = {
    "recall@10": {
        "ours": {
            "value": 0.1504,
            "low": 0.1401,
            "high": 0.1611,
            "minus": {"words": {"value": 0.0204, "low": -0.001, "high": 0.04}},
        },
        "words": {"value": 0.13, "low": 0.12, "high": 0.14, "minus": {}},
    }
}
OURS = {
    "page": "page.md",
    "quote": "recall of 0.150 (0.140 to 0.161)",
    "report": "one",
    "metric": "recall@10",
    "method": "ours",
}
PAGE = "We have a recall\nof 0.150 (0.140 to 0.161) in 0.25 hours.\n\n```\n0.999\n```\n"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    report = tmp_path / RESULTS / "one"
    report.mkdir(parents=True)
    (report / "metrics.json").write_text(json.dumps(METRICS))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(claims: list[dict[str, str]], page: str = PAGE) -> Claims:
    Path("page.md").write_text(page)
    content = {"pages": ["page.md"], "commands": {"one": "notellm-train evaluate"}, "claims": claims}
    (RESULTS / "claims.yaml").write_text(yaml.safe_dump(content))
    return Claims.read()


def test_the_pages_of_this_repository_agree_with_its_reports() -> None:
    claims = Claims.read()
    figures = claims.figures()
    assert claims.problems(figures) == []
    kept = (RESULTS / "summary.json").read_text(encoding="utf-8")
    assert kept == summary_of(figures), "run python -m training.evaluation.summary"


def test_values_come_from_the_report(repository: Path) -> None:
    write([OURS])
    main()
    (figure,) = json.loads((RESULTS / "summary.json").read_text())
    assert figure == OURS | {"value": 0.1504, "low": 0.1401, "high": 0.1611, "k": 10, "command": "notellm-train evaluate"}


@pytest.mark.parametrize(
    ("quote", "more", "value"),
    [
        ("+0.020 (-0.001 to +0.040)", {"minus": "words"}, 0.0204),
        ("0.161 times 1.157", {"over": "words"}, 0.1504 / 0.13),
    ],
)
def test_differences_and_ratios(repository: Path, quote: str, more: dict[str, str], value: float) -> None:
    page = PAGE + "which is +0.020 (-0.001 to\n+0.040) or (0.140 to 0.161 times 1.157"
    (figure,) = write([OURS | {"quote": quote} | more], page).figures()
    assert figure.value == pytest.approx(value)
    assert list(figure.disagreements()) == []


def test_a_figure_from_elsewhere_is_its_own_value(repository: Path) -> None:
    (figure,) = write([{"page": "page.md", "quote": "recall of 0.150", "source": "a lost run"}]).figures()
    assert (figure.value, figure.low, figure.command) == (0.15, None, None)


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        (PAGE.replace("recall", "share"), "page.md has 'recall of 0.150 (0.140 to 0.161)' 0 times, not once"),
        (PAGE * 2, "2 times, not once"),
        (PAGE + "Another has 0.162.", "has 0.162': docs/results/claims.yaml does not have this figure"),
    ],
)
def test_other_words_and_other_figures_are_noticed(repository: Path, page: str, problem: str) -> None:
    write([OURS], page)
    with pytest.raises(EvaluationError) as raised:
        main()
    assert problem in str(raised.value)


def test_a_wrong_figure_is_noticed(repository: Path) -> None:
    claims = write([OURS | {"quote": "recall of 0.150 (0.140 to 0.162)"}], PAGE.replace("0.161", "0.162"))
    (problem,) = claims.problems(claims.figures())
    assert problem.startswith("page.md says 0.162 in ")
    assert problem.endswith("but one says 0.1611 (high)")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quote": "recall of nothing"}, "does not end with a figure"),
        ({"method": None}, "needs report, metric and method, or a source"),
        ({"source": "elsewhere"}, "needs report, metric and method, or a source"),
        ({"method": "theirs"}, "the report one has no 'theirs'"),
        ({"minus": "theirs"}, "the report one has no 'theirs'"),
    ],
)
def test_claims_that_nothing_backs_are_refused(repository: Path, change: dict[str, str], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        write([OURS | change]).figures()
