"""Writes the report: markdown, figures, and all numbers as JSON."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from notellm.hashtag_use import MIN_USES
from training.evaluation.bootstrap import Comparison, Estimate
from training.evaluation.comparison import EXPOSURE_AT, Results, Side
from training.evaluation.measurement import HashtagScores, Measurement
from training.evaluation.plots import write_plots
from training.waves import WAVES

COMPARED_AT = (10, 100)
SIDES: dict[Side, str] = {"asking": "the asking note's", "target": "the target's"}
HASHTAG_METRICS = ("precision@1", "precision@3", "recall@3", "f1@3", "rouge-1", "rouge-2", "rouge-L")
ARRIVING_METRICS = {"f1": "F1@3", "unseen": "recall@5, unseen hashtags", "reach": "unseen ones that its 50 nearest notes have"}
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
    sections = [*_head(results, title, command), *_retrieval(results), *_exposure(results), *_within(results)]
    sections += [*_copies(results), *_own_pools(results), *_shares(results)]
    sections += [*_hashtags(results), *_arriving(results), *_categories(results), *_throughput(results)]
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
    if results.ranks:
        copies, kept = results.pool.copies, results.pool.without_copies
        content["copies"] = {"notes": int(copies.sum()), "share": float(copies.mean()), "pairs": int((~kept).sum())}
        if results.pool.one_category.any():
            content["pairs within category"] = int(results.pool.one_category.sum())
    for name, comparison in _comparisons(results):
        content[name] = _numbers(comparison)
    for side in SIDES if results.ranks and EXPOSURE_AT in results.cuts else ():
        content[f"recall@{EXPOSURE_AT} by {side} exposure"] = [
            {"low": part.low, "high": part.high, "pairs": part.pairs, "methods": _numbers(part.recall)}
            for part in results.by_exposure(EXPOSURE_AT, side)
        ]
    for name, own in results.own_pools().items():
        recalls = {f"recall@{k}": results.recall_in(name, own, k).model_dump() for k in COMPARED_AT if k < own.notes - 1}
        content[f"own pool {name}"] = {"notes": own.notes, "pairs": len(own.ranks)} | recalls
    return content


def _numbers(comparison: Comparison) -> dict[str, Any]:
    return {
        method: estimate.model_dump() | {"minus": {other: gap.model_dump() for other, gap in gaps.items()}}
        for (method, estimate), gaps in zip(comparison.estimates().items(), comparison.differences().values(), strict=True)
    }


def _comparisons(results: Results) -> Iterator[tuple[str, Comparison]]:
    for k in results.cuts:
        yield f"recall@{k}", results.recall(k)
    yield "mrr", results.reciprocal_rank()
    for k in _compared(results):
        if results.ranks and results.pool.copies.any() and results.pool.without_copies.any():
            yield f"recall@{k} without copies", results.recall_without_copies(k)
        if (within := results.recall_within_category(k)) is not None:
            yield f"recall@{k} within category", within
    optional = {f"hashtags {metric}": results.hashtags(metric) for metric in HASHTAG_METRICS}
    optional |= {f"arriving hashtags {metric}": results.arriving(metric) for metric in ARRIVING_METRICS}
    optional |= {f"category {metric}": results.categories(metric) for metric in CATEGORY_METRICS}
    optional["category share"] = results.category_share()
    for name, comparison in optional.items():
        if comparison is not None:
            yield name, comparison


def _compared(results: Results) -> list[int]:
    return [k for k in COMPARED_AT if k in results.cuts]


def _head(results: Results, title: str, command: str) -> Iterator[str]:
    pool = results.pool
    yield f"# {title}"
    yield (
        f"There are {len(pool.notes):,} test notes, none of which training has seen in any role, and {len(pool.sources):,} directed "
        f"related pairs of {len(set(pool.sources.tolist())):,} asking notes. Every note of the pool except the asking one is ranked; ties "
        "count half. Intervals are 95% percentile intervals of a bootstrap with 1,000 draws of asking notes (of notes, if no pairs are "
        "involved). Differences use the same draws. Of a method with several seeds, figures are the mean of its "
        "runs, and runs are drawn too. `metrics.json` has the numbers with all digits."
    )
    yield f"Last command: `{command}` (data and pool {pool.fingerprint})."
    yield "\n".join(f"- **{name}**: {_about(runs)}" for name, runs in results.methods.items())


def _about(runs: Sequence[Measurement]) -> str:
    seeds = f", mean of {len(runs)} runs (seeds {', '.join(str(run.seed) for run in runs)})" if len(runs) > 1 else ""
    return runs[0].about + seeds


def _retrieval(results: Results) -> Iterator[str]:
    if not results.ranks:
        return
    yield "## Related notes"
    columns = {f"recall@{k}": results.recall(k).estimates() for k in results.cuts} | {
        "MRR": results.reciprocal_rank().estimates()
    }
    yield _columns(columns)
    for k in _compared(results):
        yield f"### Paired differences, recall@{k}"
        yield _differences(results.recall(k))


def _within(results: Results) -> Iterator[str]:
    """Recall among the notes of the asking note's category, for the methods that were measured there."""
    columns = {f"recall@{k}": one for k in _compared(results) if (one := results.recall_within_category(k))}
    if not columns:
        return
    yield "## Within the asking note's category"
    yield (
        f"Only the notes of the asking note's category are ranked, for the {int(results.pool.one_category.sum()):,} pairs of one category. "
        "`random-within-category` is what knowing the category alone gives."
    )
    yield _columns({name: one.estimates() for name, one in columns.items()})
    for name, one in columns.items():
        yield f"### Paired differences within the category, {name}"
        yield _differences(one)


def _copies(results: Results) -> Iterator[str]:
    """Recall without the pairs that touch a test note whose text training may have seen under another id."""
    pool = results.pool
    if not results.ranks:
        return
    yield "## Copies of training notes"
    count, pairs = int(pool.copies.sum()), int(pool.without_copies.sum())
    counted = f"{count:,} of the {len(pool.notes):,} test notes ({count / len(pool.notes):.1%}) have exactly the text of a training note"
    yield f"{counted} (case and white space do not count). {pairs:,} of the {len(pool.sources):,} pairs touch no such note."
    if count and pairs:
        yield _columns({f"recall@{k}, without them": results.recall_without_copies(k).estimates() for k in _compared(results)})


def _own_pools(results: Results) -> Iterator[str]:
    own = results.own_pools()
    if not own:
        return
    yield "## Not available to a new note"
    yield "These methods need behaviour with the note itself. They have pools of their own and are in no comparison."
    rows = (
        [name, f"{one.notes:,}", f"{len(one.ranks):,}"]
        + [_interval(results.recall_in(name, one, k)) if k < one.notes - 1 else "" for k in COMPARED_AT]
        for name, one in own.items()
    )
    yield _table(["method", "notes", "pairs", *(f"recall@{k}" for k in COMPARED_AT)], rows)


def _columns(columns: dict[str, dict[str, Estimate]]) -> str:
    """A table with a row for each method."""
    names = next(iter(columns.values()), {})
    return _table(["method", *columns], ([name, *(_interval(column[name]) for column in columns.values())] for name in names))


def _exposure(results: Results) -> Iterator[str]:
    for side, whose in SIDES.items() if results.ranks and EXPOSURE_AT in results.cuts else ():
        parts = results.by_exposure(EXPOSURE_AT, side)
        if len(parts) > 1:
            yield f"### recall@{EXPOSURE_AT} by {whose} interactions"
            yield _columns({f"{one.low} to {one.high} ({one.pairs:,} pairs)": one.recall.estimates() for one in parts})


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
    notes = len(next(iter(counted.values()))[0].metrics["f1@3"])
    yield "## Hashtags"
    yield f"Hashtags suggested for {notes:,} notes from title and content, compared with the notes' own hashtags."
    if any(one.ranked_hashtags for one in results.measurements.values()):
        yield "*Ranked*: the hashtags of the training notes that the model finds likeliest (beam search), instead of a generated list."
    if any(one.indexed_hashtags for one in results.measurements.values()):
        yield (
            "*With the index*: what the service suggests if the training notes are stored. The model's opinion and the hashtags of the 50 "
            "nearest training notes count, with weights that were learnt from validation notes."
        )
    rows = (
        [name, *(_interval(column[name]) for column in columns.values()), f"{_bleu(counted[name]):.2f}"] for name in counted
    )
    yield _table(["method", *columns, "BLEU"], rows)
    errors = {
        name: [one.calibration_error for one in runs if one.calibration_error is not None] for name, runs in counted.items()
    }
    for name, found in errors.items():
        if found:
            yield f"Expected calibration error of the first three suggestions, {name}: {sum(found) / len(found):.3f} (ten bins)."
    comparison = results.hashtags("f1@3")
    if comparison:
        yield "### Paired differences, F1@3"
        yield _differences(comparison)


def _arriving(results: Results) -> Iterator[str]:
    columns = {label: one for metric, label in ARRIVING_METRICS.items() if (one := results.arriving(metric))}
    if not columns:
        return
    scores = next(one.arriving_hashtags for one in results.measurements.values() if one.arriving_hashtags)
    yield "## Hashtags as notes arrive"
    yield (
        f"The test notes are newer than all others and come one after another. {len(scores.f1):,} of them ask, in at most {WAVES} waves "
        f"with the validation notes, and all notes before their wave are stored. {len(scores.unseen):,} have hashtags that no training "
        f"note has. A model suggests such a hashtag as the service does by default, once {MIN_USES} stored notes have it. What the 50 "
        "nearest notes have is the most that they could tell."
    )
    yield _table(
        ["method", *columns],
        (
            [name, *(_interval(one.estimates()[name]) if name in one.values else "" for one in columns.values())]
            for name in next(iter(columns.values())).values
        ),
    )
    if (unseen := results.arriving("unseen")) is not None:
        yield "### Paired differences, unseen hashtags"
        yield _differences(unseen)


def _bleu(runs: Sequence[HashtagScores]) -> float:
    return sum(one.bleu for one in runs) / len(runs)


def _categories(results: Results) -> Iterator[str]:
    columns = {label: one.estimates() for metric, label in CATEGORY_METRICS.items() if (one := results.categories(metric))}
    if not columns:
        return
    yield "## Categories"
    yield "An illusion is a generated category that is not in the list. A model that is held to the list cannot have any."
    yield _columns(columns)


def _throughput(results: Results) -> Iterator[str]:
    timed = [one for one in results.measurements.values() if one.notes_per_second]
    if timed:
        yield "## Throughput"
        yield "Embedding the pool once, with the model loaded and warm. Other work may have run on the machine."
        yield _table(
            ["method", "notes per second", "on"],
            ([one.key, f"{one.notes_per_second:.1f}", str(one.machine)] for one in timed),
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
