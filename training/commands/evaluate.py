"""`notellm-train evaluate`: measures methods on the test notes of a run's settings, and writes a report."""

import logging
import shlex
import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from training.config import TrainingConfig
from training.data import load_dataset
from training.errors import EvaluationError
from training.evaluation.baselines import Baseline, measure_baseline
from training.evaluation.comparison import Results
from training.evaluation.measure import hashtag_notes
from training.evaluation.measurement import Measurement, read_measurements, remove_measurements, write_measurement
from training.evaluation.pool import TestPool
from training.evaluation.report import write_report
from training.evaluation.runs import ModelRuns


class Within(StrEnum):
    """Notes that share something with the asking note."""

    CATEGORY = "category"


def evaluate(
    config: Annotated[Path, typer.Argument(help="The run's YAML file, which gives the data, the split and the base model.")],
    output: Annotated[Path, typer.Argument(help="Directory of the report; earlier measurements in it are kept.")],
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=DIRECTORY of a run or a checkpoint; repeat the option. Several runs of one name are seeds of one method."
        ),
    ] = None,
    baseline: Annotated[
        list[Baseline] | None,
        typer.Option(help="Baseline to measure; repeat the option. By default all that are not measured yet."),
    ] = None,
    within: Annotated[
        Within | None, typer.Option(help="Also rank among only the notes that have the asking note's category.")
    ] = None,
    generated_notes: Annotated[
        int, typer.Option(min=0, help="Number of test notes to generate hashtags and categories for; 0: none.")
    ] = 300,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="A setting, `data.split.seed=1`; repeat the option.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Title of the report.")] = None,
) -> None:
    """Measures models and baselines on the test notes, and writes a report."""
    logging.getLogger("training").setLevel(logging.INFO)
    settings = TrainingConfig.load(config, override or ())
    dataset = load_dataset(settings.data)
    pool = TestPool.of(dataset, within_category=within is not None)
    records = output / "measurements"
    done = read_measurements(records, pool.fingerprint)
    models = {named: named.open(settings, dataset) for named in ModelRuns.read(model or ())}
    baselines = baseline if baseline is not None else _missing(done.values(), pool)
    of_models = [method for named in models for method in named.methods]
    anew = {*of_models, *baselines}
    _refuse_other_sample([one for one in done.values() if one.method not in anew], pool, generated_notes)
    for named, runs in models.items():
        for method in named.methods:
            remove_measurements(records, method)
        for measured in named.measure(runs, pool, generated_notes):
            write_measurement(records, measured)
    for missing in baselines:
        write_measurement(records, measure_baseline(missing, settings, dataset, pool, generated_notes))
    order = [*of_models, *(one.method for one in done.values()), *Baseline]
    results = Results(pool, read_measurements(records, pool.fingerprint, order))
    write_report(results, output, title or f"Evaluation: {settings.name}", shlex.join(["notellm-train", *sys.argv[1:]]))
    counted = f"{len(pool.notes):,} notes and {len(pool.sources):,} pairs"
    typer.echo(f"{output / 'report.md'}: {len(results.methods)} methods on {counted}")


def _missing(done: Iterable[Measurement], pool: TestPool) -> list[Baseline]:
    """The baselines that have not been measured, or not within categories although this is wanted now."""
    enough = {one.method for one in done if not (pool.within_category and one.ranks and not one.within_category)}
    return [one for one in Baseline if one not in enough]


def _refuse_other_sample(kept: Iterable[Measurement], pool: TestPool, generated_notes: int) -> None:
    """Before hours of measuring, checks that the kept measurements are of the notes that would be measured now."""
    expected = len(hashtag_notes(pool, generated_notes))
    for one in kept:
        if generated_notes and one.hashtags and (found := len(next(iter(one.hashtags.metrics.values())))) != expected:
            raise EvaluationError(
                f"{one.method} was measured on the hashtags of {found} notes, but --generated-notes {generated_notes} gives "
                f"{expected}: use the earlier number, or another output directory"
            )
