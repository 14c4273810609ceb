"""The quality figures that the pages claim, compared with the reports: `python -m training.evaluation.summary`, in the repository.

`docs/results/claims.yaml` says where each figure comes from. This command looks its value up in the report's `metrics.json`, writes
`docs/results/summary.json`, and ends with an error if a page says something else.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from training.errors import EvaluationError
from training.whole_files import write_whole

RESULTS = Path("docs/results")
_NUMBER = r"[+-]?\d+(?:\.\d+)?"
_CLAIMED = re.compile(rf"(?P<value>{_NUMBER})(?: \((?P<low>{_NUMBER}) to (?P<high>{_NUMBER})\))?$")
# Recall, F1 and their differences are written with three digits; settings and times are not.
_LOOKS_LIKE_QUALITY = re.compile(r"(?<![\d.])[01]\.\d{3}(?!\d|\.\d)")
_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


class Claim(BaseModel):
    """A figure in a page.

    Attributes:
        page: the page, from the root of the repository.
        quote: text that occurs once in the page and ends with the figure, with or without its interval.
        report: directory of the report under docs/results.
        metric, method: where the value is in the report's `metrics.json`.
        minus: the method that is subtracted.
        over: the method that it is divided by.
        source: where the value comes from, if it is not in a report.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    page: str
    quote: str
    report: str | None = None
    metric: str | None = None
    method: str | None = None
    minus: str | None = None
    over: str | None = None
    source: str | None = None

    @model_validator(mode="after")
    def _comes_from_somewhere(self) -> "Claim":
        if not _CLAIMED.search(self.quote):
            raise ValueError(f"{self.quote!r} does not end with a figure")
        if (self.source is None) == (None in (self.report, self.metric, self.method)):
            raise ValueError(f"{self.quote!r} needs report, metric and method, or a source")
        return self


class Figure(Claim):
    """A claimed figure with its value.

    Attributes:
        value: the value with all digits; as claimed, if it is not in a report.
        low, high: its 95% interval, if it has one.
        k: that of recall@k and F1@k.
        command: makes the report.
    """

    value: float
    low: float | None = None
    high: float | None = None
    k: int | None = None
    command: str | None = None

    def disagreements(self) -> Iterator[str]:
        """What the page says and the report does not."""
        found = _CLAIMED.search(self.quote)
        for name, claimed in (found.groupdict() if found else {}).items():
            value = getattr(self, name)
            if claimed is not None and (value is None or not _rounds_to(value, claimed)):
                yield f"{self.page} says {claimed} in {self.quote!r}, but {self.source or self.report} says {value} ({name})"


class Claims(BaseModel):
    """The content of `claims.yaml`.

    Attributes:
        pages: pages in which every figure must be claimed.
        commands: the command that makes each report.
        claims: the claims.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pages: tuple[str, ...]
    commands: dict[str, str]
    claims: tuple[Claim, ...]

    @classmethod
    def read(cls, results: Path = RESULTS) -> "Claims":
        """Those of the directory of all reports.

        Raises:
            EvaluationError: the file is invalid.
        """
        path = results / "claims.yaml"
        try:
            return cls.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        except ValidationError as error:
            raise EvaluationError(f"{path}: {error.errors()[0]['msg']}") from error

    def figures(self, results: Path = RESULTS) -> list[Figure]:
        """The claims with their values.

        Raises:
            EvaluationError: a report does not have a figure.
        """
        reports = {
            name: json.loads((results / name / "metrics.json").read_text(encoding="utf-8"))
            for name in {claim.report for claim in self.claims if claim.report}
        }
        return [_figure(claim, reports.get(claim.report or ""), self.commands) for claim in self.claims]

    def problems(self, figures: Sequence[Figure], root: Path = Path()) -> list[str]:
        """Where pages and figures disagree, one sentence each: figures that are wrong or that nobody claims, quotes that are gone."""
        found = [problem for figure in figures for problem in figure.disagreements()]
        for page in dict.fromkeys([*self.pages, *(claim.page for claim in self.claims)]):
            text = _normal(_CODE.sub("", (root / page).read_text(encoding="utf-8")))
            found += _problems_of(page, text, [_normal(claim.quote) for claim in self.claims if claim.page == page])
        return found


def summary_of(figures: Sequence[Figure]) -> str:
    """The content of `summary.json`."""
    return json.dumps([one.model_dump(exclude_none=True) for one in figures], indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Writes the summary.

    Raises:
        EvaluationError: a page disagrees with it.
    """
    claims = Claims.read()
    figures = claims.figures()
    write_whole(RESULTS / "summary.json", summary_of(figures))
    if wrong := claims.problems(figures):
        raise EvaluationError("\n".join(wrong))


def _problems_of(page: str, text: str, quotes: Sequence[str]) -> Iterator[str]:
    """Quotes that a page does not have once, and figures in it that no quote ends with."""
    covered: set[int] = set()
    for quote in quotes:
        if text.count(quote) != 1:
            yield f"{page} has {quote!r} {text.count(quote)} times, not once: change docs/results/claims.yaml"
        figure, end = _CLAIMED.search(quote), text.find(quote) + len(quote)
        covered.update(range(end - len(figure.group()) if figure else end, end))
    for one in _LOOKS_LIKE_QUALITY.finditer(text):
        if one.start() not in covered:
            yield f"{page} has {text[max(0, one.start() - 40) : one.end()]!r}: docs/results/claims.yaml does not have this figure"


def _figure(claim: Claim, metrics: dict[str, Any] | None, commands: dict[str, str]) -> Figure:
    cut = re.search(r"@(\d+)", claim.metric or claim.quote)
    facts: dict[str, Any] = claim.model_dump(exclude_none=True) | ({"k": int(cut.group(1))} if cut else {})
    if metrics is None:
        found = _CLAIMED.search(claim.quote)
        numbers = {name: float(value) for name, value in (found.groupdict() if found else {}).items() if value}
        return Figure(**facts, **numbers)
    try:
        own = metrics[claim.metric or ""][claim.method or ""]
        estimate = own["minus"][claim.minus] if claim.minus else own
        numbers = {name: estimate[name] for name in ("value", "low", "high")}
        if claim.over:
            numbers = {"value": own["value"] / metrics[claim.metric or ""][claim.over]["value"]}
    except KeyError as error:
        raise EvaluationError(
            f"the report {claim.report} has no {error} for {claim.quote!r}: measure it, or drop the claim"
        ) from error
    return Figure(**facts, **numbers, command=commands[claim.report or ""])


def _rounds_to(value: float, claimed: str) -> bool:
    digits = len(claimed.partition(".")[2])
    return abs(value - float(claimed)) <= 0.5 / float(10**digits) + 1e-9


def _normal(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    main()
