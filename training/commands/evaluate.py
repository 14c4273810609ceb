"""`notellm-train evaluate`: measures methods on the test notes of a run's settings, and writes a report."""

import json
import logging
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from notellm.checkpoint import Checkpoint
from notellm.note import Note
from notellm.vocabulary import categories_of
from training.config import TrainingConfig
from training.data import Dataset, load_dataset
from training.errors import EvaluationError
from training.evaluation.comparison import Results
from training.evaluation.embedding import LoadedCheckpoint
from training.evaluation.lexical import BM25, TfIdf
from training.evaluation.measure import hashtag_notes, measure_checkpoint, measure_embedder, measure_retriever, measure_tags
from training.evaluation.measurement import CurvePoint, Measurement, read_measurements, write_measurement
from training.evaluation.minilm import FineTunedMiniLM, FineTuning, MiniLM
from training.evaluation.pool import TestPool
from training.evaluation.report import write_report
from training.evaluation.tag_baselines import MostFrequentTags, NeighbourTags
from training.export import RECORD
from training.loop import log_lines
from training.model import InitialCheckpoint

ZERO_SHOT_SAMPLE = 60


class Baseline(StrEnum):
    """The methods that a model is compared with."""

    TFIDF = "tfidf"
    BM25 = "bm25"
    MINILM = "minilm"
    MINILM_FINETUNED = "minilm-finetuned"
    PROMPTEOL = "prompteol"
    PROMPTEOL_CENTRED = "prompteol-centred"
    MOST_FREQUENT_TAGS = "most-frequent-tags"
    NEIGHBOUR_TAGS = "tfidf-neighbour-tags"


ABOUT = {
    Baseline.TFIDF: "cosine of TF-IDF vectors, document frequencies of the pool",
    Baseline.BM25: "Okapi BM25, the asking note's words as the query",
    Baseline.MINILM: "all-MiniLM-L6-v2 as published",
    Baseline.MINILM_FINETUNED: "all-MiniLM-L6-v2 fine-tuned on the same training pairs, best epoch by validation recall",
    Baseline.PROMPTEOL: "the base model's hidden state, untrained (PromptEOL zero-shot)",
    Baseline.PROMPTEOL_CENTRED: f"the base model's hidden state, untrained, the mean of {ZERO_SHOT_SAMPLE} training notes subtracted",
    Baseline.MOST_FREQUENT_TAGS: "the most frequent hashtags of the note's category, which it is told",
    Baseline.NEIGHBOUR_TAGS: "the hashtags of the ten training notes with the nearest words (TF-IDF)",
}


def evaluate(
    config: Annotated[Path, typer.Argument(help="The run's YAML file, which gives the data, the split and the base model.")],
    output: Annotated[Path, typer.Argument(help="Directory of the report; earlier measurements in it are kept.")],
    model: Annotated[list[str] | None, typer.Option(help="NAME=DIRECTORY of a run or a checkpoint; repeat the option.")] = None,
    baseline: Annotated[
        list[Baseline] | None,
        typer.Option(help="Baseline to measure; repeat the option. By default all that are not measured yet."),
    ] = None,
    generated_notes: Annotated[int, typer.Option(help="Number of test notes to generate hashtags and categories for.")] = 300,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="A setting, `data.split.seed=1`; repeat the option.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Title of the report.")] = None,
) -> None:
    """Measures models and baselines on the test notes, and writes a report."""
    logging.getLogger("training").setLevel(logging.INFO)
    settings = TrainingConfig.load(config, override or ())
    dataset = load_dataset(settings.data)
    pool = TestPool.of(dataset)
    records = output / "measurements"
    done = read_measurements(records, pool.fingerprint)
    models = dict(map(_named, model or ()))
    baselines = baseline if baseline is not None else [one for one in Baseline if one not in done]
    _refuse_other_sample([one for name, one in done.items() if name not in {*models, *baselines}], pool, generated_notes)
    for name, place in models.items():
        write_measurement(records, _measure_model(name, place, settings, dataset, pool, generated_notes))
    for one in baselines:
        write_measurement(records, _measure_baseline(one, settings, dataset, pool, generated_notes))
    found = read_measurements(records, pool.fingerprint, order=[*models, *done, *Baseline])
    write_report(
        Results(pool, found), output, title or f"Evaluation: {settings.name}", shlex.join(["notellm-train", *sys.argv[1:]])
    )
    typer.echo(f"{output / 'report.md'}: {len(found)} methods on {len(pool.notes):,} notes and {len(pool.sources):,} pairs")


def _refuse_other_sample(kept: Iterable[Measurement], pool: TestPool, generated_notes: int) -> None:
    """Before hours of measuring, checks that the kept measurements are of the notes that would be measured now."""
    expected = len(hashtag_notes(pool, generated_notes))
    for one in kept:
        if one.hashtags and (found := len(next(iter(one.hashtags.metrics.values())))) != expected:
            raise EvaluationError(
                f"{one.method} was measured on the hashtags of {found} notes, but --generated-notes {generated_notes} gives "
                f"{expected}: use the earlier number, or another output directory"
            )


def _named(text: str) -> tuple[str, Path]:
    name, separator, place = text.partition("=")
    if not separator:
        raise EvaluationError(f"--model {text}: write NAME=DIRECTORY")
    return name, Path(place)


def _measure_model(
    name: str, place: Path, settings: TrainingConfig, dataset: Dataset, pool: TestPool, generated_notes: int
) -> Measurement:
    """Measures the checkpoint at `place`, which is a run's directory or a checkpoint's."""
    run = (place / "checkpoint").is_dir()
    checkpoint = Checkpoint.open(place / "checkpoint" if run else place)
    _refuse_leak(checkpoint, settings, dataset)
    about = f"{checkpoint.manifest.name}, {checkpoint.manifest.dimensions} dimensions, of {checkpoint.manifest.base_model}"
    return measure_checkpoint(
        LoadedCheckpoint(name, checkpoint), about, pool, generated_notes=generated_notes,
        categories=checkpoint.manifest.categories, curve=_curve(place / "log.jsonl") if run else (),
    )  # fmt: skip


def _refuse_leak(checkpoint: Checkpoint, settings: TrainingConfig, dataset: Dataset) -> None:
    """Makes sure that the model was not trained on test notes."""
    record = checkpoint.path / RECORD
    if not record.exists():
        return
    if checkpoint.manifest.data_fingerprint != dataset.fingerprint:
        raise EvaluationError(f"{checkpoint.path} was trained on different data: it may have learnt from test notes")
    if json.loads(record.read_text(encoding="utf-8"))["config"]["data"]["split"] != settings.data.split.model_dump(mode="json"):
        raise EvaluationError(f"{checkpoint.path} was trained on a different split: it may have learnt from test notes")


def _measure_baseline(
    one: Baseline, settings: TrainingConfig, dataset: Dataset, pool: TestPool, generated_notes: int
) -> Measurement:
    if one in (Baseline.PROMPTEOL, Baseline.PROMPTEOL_CENTRED):
        with _zero_shot(one, settings, pool) as checkpoint:
            loaded = LoadedCheckpoint(one, checkpoint)
            return measure_checkpoint(
                loaded, ABOUT[one], pool, generated_notes=generated_notes, categories=checkpoint.manifest.categories
            )
    measures: dict[Baseline, Callable[[], Measurement]] = {
        Baseline.TFIDF: lambda: measure_retriever(TfIdf(pool.notes), ABOUT[one], pool),
        Baseline.BM25: lambda: measure_retriever(BM25(pool.notes), ABOUT[one], pool),
        Baseline.MINILM: lambda: measure_embedder(MiniLM(), ABOUT[one], pool),
        Baseline.MINILM_FINETUNED: lambda: measure_embedder(_fine_tuned(settings, dataset), ABOUT[one], pool),
        Baseline.MOST_FREQUENT_TAGS: lambda: measure_tags(MostFrequentTags(pool.training), ABOUT[one], pool, generated_notes),
        Baseline.NEIGHBOUR_TAGS: lambda: measure_tags(NeighbourTags(pool.training), ABOUT[one], pool, generated_notes),
    }
    return measures[one]()


def _fine_tuned(settings: TrainingConfig, dataset: Dataset) -> FineTunedMiniLM:
    """MiniLM, fine-tuned on the run's pairs with the run's epochs, batch size and precision."""
    examples = settings.examples
    tuning = FineTuning(
        epochs=examples.epochs, max_pairs=examples.max_pairs, pairs_per_batch=examples.pairs_per_batch,
        precision=settings.compute.precision,
    )  # fmt: skip
    return FineTunedMiniLM(dataset, tuning)


@contextmanager
def _zero_shot(one: Baseline, settings: TrainingConfig, pool: TestPool) -> Iterator[Checkpoint]:
    """The untrained base model with the run's prompt and without a trained projection."""
    centred = one is Baseline.PROMPTEOL_CENTRED
    sample: Sequence[Note] = pool.training[:: -(-len(pool.training) // ZERO_SHOT_SAMPLE)] if centred else ()
    categories = categories_of(pool.training)
    with tempfile.TemporaryDirectory() as directory:
        initial = InitialCheckpoint(
            base=settings.model.base, output=Path(directory) / "checkpoint", name=one, notes=sample, categories=categories,
            prompt=settings.model.prompt,
        )  # fmt: skip
        yield initial.make()


def _curve(log: Path) -> list[CurvePoint]:
    points = []
    for content in log_lines(log):
        for name in list(content):
            if name.startswith("validation_recall@"):
                content["validation_recall"] = content[name]
        points.append(CurvePoint(**{name: value for name, value in content.items() if name in CurvePoint.model_fields}))
    return points
