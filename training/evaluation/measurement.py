"""`Measurement`: what one method did on one pool, note by note, so that methods can be compared later, in pairs.

Kept as one JSON file a method. It holds ranks and scores, and no text of a note.
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from training.errors import EvaluationError


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HashtagScores(_Record):
    """Of generated hashtags; lists have an entry a note.

    Attributes:
        metrics: `precision@3`, `f1@1`, `rouge-1` and so on, each between 0 and 1.
        bleu: of the whole corpus, 0 to 100.
    """

    metrics: dict[str, list[float]]
    bleu: float


class CategoryScores(_Record):
    """Of generated categories; lists have an entry a note, 0 or 1.

    Attributes:
        accuracy: right, generated freely.
        illusion: not in the list of categories, generated freely.
        constrained_accuracy: right, where only the list can be generated (its illusion rate is 0 by construction).
    """

    accuracy: list[float]
    illusion: list[float]
    constrained_accuracy: list[float]


class CurvePoint(_Record):
    """A line of a run's log."""

    step: int
    loss: float | None = None
    loss_contrastive: float | None = None
    loss_generative: float | None = None
    temperature: float | None = None
    validation_recall: float | None = None


class Measurement(_Record):
    """One method on one pool.

    Attributes:
        method: its name.
        about: what it is, in a sentence.
        pool: fingerprint of the `TestPool`.
        ranks: (pairs,) rank of each target.
        category_share: (notes,), of the first ten neighbours, found without hashtags, those of the note's own category.
        hashtags, ranked_hashtags, categories: of the notes of the sample; generated as a list, or the likeliest of the training
            notes' hashtags.
        notes_per_second, machine: throughput of embedding.
        curve: how it was trained.
    """

    method: str = Field(pattern=r"^[\w.-]+$")
    about: str
    pool: str
    ranks: list[float] | None = None
    category_share: list[float] | None = None
    hashtags: HashtagScores | None = None
    ranked_hashtags: HashtagScores | None = None
    categories: CategoryScores | None = None
    notes_per_second: float | None = None
    machine: str | None = None
    curve: list[CurvePoint] = []


def write_measurement(directory: Path, measurement: Measurement) -> None:
    """Writes `directory/METHOD.json`; one that is there already is replaced."""
    directory.mkdir(parents=True, exist_ok=True)
    rounded = measurement.model_dump_json(exclude_none=True, exclude_defaults=True)
    (directory / f"{measurement.method}.json").write_text(rounded + "\n", encoding="utf-8")


def read_measurements(directory: Path, pool: str, order: Sequence[str] = ()) -> dict[str, Measurement]:
    """All measurements of a pool by method, those of `order` first.

    Raises:
        EvaluationError: a file is broken, or was measured on another pool.
    """
    found = {}
    for path in sorted(directory.glob("*.json")):
        try:
            measurement = Measurement.model_validate_json(path.read_text(encoding="utf-8"))
        except ValidationError as error:
            raise EvaluationError(
                f"{path} is no measurement: {error.errors()[0]['msg']}; remove it and evaluate again"
            ) from error
        if measurement.pool != pool:
            raise EvaluationError(
                f"{path} was measured on other data or another split (pool {measurement.pool}, now {pool}): remove it, or choose "
                "another output directory"
            )
        found[measurement.method] = measurement
    rank = {name: place for place, name in enumerate(order)}
    return dict(sorted(found.items(), key=lambda item: rank.get(item[0], len(rank))))
