"""Writes the report: markdown, figures, and all numbers as JSON."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from training.evaluation.bootstrap import Comparison, Estimate
from training.evaluation.comparison import EXPOSURE_AT, Results
from training.evaluation.plots import write_plots

COMPARED_AT = (10, 100)
HASHTAG_METRICS = ("precision@1", "precision@3", "recall@3", "f1@3", "rouge-1", "rouge-2", "rouge-L")
CATEGORY_METRICS = {
    "accuracy": "accuracy",
    "illusion": "illusion rate",
    "constrained_accuracy": "accuracy, held to the list",
}


def write_report(results: Results, directory: Path, title: str, command: str) -> None:
    """Writes `report.md`, its figures and `metrics.json`.

    Args:
        results: results of all methods.
        directory: directory to write to.
        title: title of the page.
        command: the last command; the report also contains earlier measurements.
    """
    directory.mkdir(parents=True, exist_ok=True)
    figures = write_plots(results, directory)
    sections = [*_head(results, title, command), *_retrieval(results), *_exposure(results), *_shares(results)]
    sections += [*_hashtags(results), *_categories(results), *_throughput(results)]
    sections += [part for name, path in figures.items() for part in (f"![{name}]({path.name})",)]
    (directory / "report.md").write_text("\n\n".join(sections) + "\n", encoding="utf-8")
    (directory / "metrics.json").write_text(json.dumps(metrics(results), indent=1) + "\n", encoding="utf-8")


def metrics(results: Results) -> dict[str, Any]:
    """Every number of the report with its interval, and every paired difference."""
    content: dict[str, Any] = {
        "pool": results.pool.fingerprint,
        "notes": len(results.pool.notes),
        "pairs": len(results.pool.sources),
    }
    for name, comparison in _comparisons(results):
        content[name] = {
            method: estimate.model_dump() | {"minus": {other: gap.model_dump() for other, gap in gaps.items()}}
            for (method, estimate), gaps in zip(comparison.estimates().items(), comparison.differences().values(), strict=True)
        }
    return content


def _comparisons(results: Results) -> Iterator[tuple[str, Comparison]]:
    for k in results.cuts:
        yield f"recall@{k}", results.recall(k)
    yield "mrr", results.reciprocal_rank()
    optional = {f"hashtags {metric}": results.hashtags(metric) for metric in HASHTAG_METRICS}
    optional |= {f"category {metric}": results.categories(metric) for metric in CATEGORY_METRICS}
    optional["category share"] = results.category_share()
    for name, comparison in optional.items():
        if comparison is not None:
            yield name, comparison


def _head(results: Results, title: str, command: str) -> Iterator[str]:
    pool = results.pool
    yield f"# {title}"
    yield (
        f"There are {len(pool.notes):,} test notes, none of which training has seen in any role, and {len(pool.sources):,} directed "
        f"related pairs of {len(set(pool.sources.tolist())):,} asking notes. Every note of the pool except the asking one is ranked; ties "
        "count half. Intervals are 95% percentile intervals of a bootstrap with 1,000 draws of asking notes (of notes, if no pairs are "
        "involved). Differences use the same draws. `metrics.json` has the numbers with all digits."
    )
    yield f"Last command: `{command}` (data and pool {pool.fingerprint})."
    yield "\n".join(f"- **{name}**: {one.about}" for name, one in results.measurements.items())


def _retrieval(results: Results) -> Iterator[str]:
    if not results.ranks:
        return
    yield "## Related notes"
    columns = {f"recall@{k}": results.recall(k).estimates() for k in results.cuts} | {
        "MRR": results.reciprocal_rank().estimates()
    }
    yield _table(
        ["method", *columns], ([name, *(_interval(column[name]) for column in columns.values())] for name in columns["MRR"])
    )
    for k in COMPARED_AT:
        if k in results.cuts:
            yield f"### Paired differences, recall@{k}"
            yield _differences(results.recall(k))


def _exposure(results: Results) -> Iterator[str]:
    parts = results.by_exposure(EXPOSURE_AT) if results.ranks and EXPOSURE_AT in results.cuts else []
    if len(parts) <= 1:
        return
    yield f"### recall@{EXPOSURE_AT} by the asking note's interactions"
    header = ["method", *(f"{part.low} to {part.high} ({part.pairs:,} pairs)" for part in parts)]
    estimates = [part.recall.estimates() for part in parts]
    yield _table(header, ([name, *(_interval(one[name]) for one in estimates)] for name in estimates[0]))


def _shares(results: Results) -> Iterator[str]:
    comparison = results.category_share()
    if comparison is None:
        return
    yield "## Neighbours of the same category"
    yield (
        "The share of a note's first ten neighbours that have its category, with hashtags removed from all notes. It is the mean over "
        "categories of the mean over their notes."
    )
    yield _table(["method", "share"], ([name, _interval(one)] for name, one in comparison.estimates().items()))


def _hashtags(results: Results) -> Iterator[str]:
    columns = {metric: one.estimates() for metric in HASHTAG_METRICS if (one := results.hashtags(metric))}
    if not columns:
        return
    counted = results.hashtag_scores
    notes = len(next(iter(counted.values())).metrics["f1@3"])
    yield "## Hashtags"
    yield f"Hashtags suggested for {notes:,} notes from title and content, compared with the notes' own hashtags."
    if any(one.ranked_hashtags for one in results.measurements.values()):
        yield "*Ranked*: the hashtags of the training notes that the model finds likeliest (beam search), instead of a generated list."
    rows = ([name, *(_interval(column[name]) for column in columns.values()), f"{counted[name].bleu:.2f}"] for name in counted)
    yield _table(["method", *columns, "BLEU"], rows)
    comparison = results.hashtags("f1@3")
    if comparison:
        yield "### Paired differences, F1@3"
        yield _differences(comparison)


def _categories(results: Results) -> Iterator[str]:
    columns = {label: one.estimates() for metric, label in CATEGORY_METRICS.items() if (one := results.categories(metric))}
    if not columns:
        return
    yield "## Categories"
    yield "An illusion is a generated category that is not in the list. A model that is held to the list cannot have any."
    first = next(iter(columns.values()))
    yield _table(["method", *columns], ([name, *(_interval(column[name]) for column in columns.values())] for name in first))


def _throughput(results: Results) -> Iterator[str]:
    timed = [one for one in results.measurements.values() if one.notes_per_second]
    if timed:
        yield "## Throughput"
        yield "Embedding the pool once, with the model loaded and warm. Other work may have run on the machine."
        yield _table(
            ["method", "notes per second", "on"],
            ([one.method, f"{one.notes_per_second:.1f}", str(one.machine)] for one in timed),
        )


def _differences(comparison: Comparison) -> str:
    """A table of row minus column; bold if the interval excludes 0."""
    names = list(comparison.values)
    differences = comparison.differences()
    rows = ([one, *("" if one == other else _signed(differences[one][other]) for other in names)] for one in names)
    return _table(["row minus column", *names], rows)


def _signed(gap: Estimate) -> str:
    text = f"{gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})"
    return f"**{text}**" if gap.low > 0 or gap.high < 0 else text


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def _table(header: Sequence[str], rows: Iterator[Sequence[str]] | Any) -> str:
    lines = [" | ".join(header), " | ".join("---" for _ in header), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)
