"""`Measurement`: the result of one method on one pool, note by note, for later paired comparisons between methods.

Each method has one JSON file with ranks and scores, without any text of the notes; a method with several runs has one for each seed.
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from training.errors import EvaluationError


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HashtagScores(_Record):
    """Scores of suggested hashtags; lists have one entry per note.

    Attributes:
        metrics: `precision@3`, `f1@1`, `rouge-1` and so on, each between 0 and 1.
        bleu: BLEU of the whole corpus, 0 to 100.
        calibration_error: expected calibration error of the first three suggestions of all notes, 0 to 1; None if they have no
            probabilities.
    """

    metrics: dict[str, list[float]]
    bleu: float
    calibration_error: float | None = None


class ArrivingScores(_Record):
    """Scores of hashtags of notes that arrive one after another, when the earlier ones are stored.

    Attributes:
        f1: (notes,), F1 at 3.
        unseen: (notes with hashtags that no training note has,), the share of these hashtags among the first five suggestions.
        reach: (the same notes,), the share of these hashtags that any of the 50 nearest stored notes has; None without neighbours.
    """

    f1: list[float]
    unseen: list[float]
    reach: list[float] | None = None


class CategoryScores(_Record):
    """Scores of generated categories; lists have one entry per note, 0 or 1.

    Attributes:
        accuracy: whether the freely generated category is right.
        illusion: whether the freely generated category is outside the list of categories.
        constrained_accuracy: whether the category is right if only the list can be generated (its illusion rate is 0 by construction).
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


class OwnPool(_Record):
    """Ranks in a pool that other methods are not measured on; lists have one entry per pair.

    Attributes:
        notes: number of notes in it.
        sources: position of the query note.
        ranks: rank of the target.
    """

    notes: int
    sources: list[int]
    ranks: list[float]


class Measurement(_Record):
    """The result of one method, or of one of its runs, on one pool.

    Attributes:
        method: name of the method.
        seed: the run's seed, if the method has several runs.
        about: description of the method, in one sentence.
        pool: fingerprint of the `TestPool`.
        ranks: (pairs,), rank of each target.
        within_category: (pairs of one category,), rank of each target among the notes of the asking note's category.
        own_pool: ranks in another pool, for a method that cannot be measured on this one.
        category_share: (notes,), share of the first ten neighbours, found without hashtags, that have the note's own category.
        hashtags: scores of generated hashtag lists, on the sample.
        ranked_hashtags: scores of the likeliest of the training notes' hashtags, on the sample.
        indexed_hashtags: scores of what the service suggests if the training notes are stored, on the sample.
        arriving_hashtags: scores of suggested hashtags as notes arrive, on the sample, if the notes are split by time.
        categories: scores of generated categories, on the sample.
        notes_per_second, machine: throughput of embedding, and the machine.
        curve: the training curve.
    """

    method: str = Field(pattern=r"^[\w.-]+$")
    seed: int | None = None
    about: str
    pool: str
    ranks: list[float] | None = None
    within_category: list[float] | None = None
    own_pool: OwnPool | None = None
    category_share: list[float] | None = None
    hashtags: HashtagScores | None = None
    ranked_hashtags: HashtagScores | None = None
    indexed_hashtags: HashtagScores | None = None
    arriving_hashtags: ArrivingScores | None = None
    categories: CategoryScores | None = None
    notes_per_second: float | None = None
    machine: str | None = None
    curve: list[CurvePoint] = []

    @property
    def key(self) -> str:
        """Names the measurement among all of a pool: `notellm`, or `notellm.seed2`."""
        return self.method if self.seed is None else f"{self.method}.seed{self.seed}"


def write_measurement(directory: Path, measurement: Measurement) -> None:
    """Writes `directory/METHOD.json` or `directory/METHOD.seedN.json` and replaces an existing file."""
    directory.mkdir(parents=True, exist_ok=True)
    rounded = measurement.model_dump_json(exclude_none=True, exclude_defaults=True)
    (directory / f"{measurement.key}.json").write_text(rounded + "\n", encoding="utf-8")


def remove_measurements(directory: Path, method: str) -> None:
    """Removes those of all runs of a method, before it is measured anew."""
    for path in (*directory.glob(f"{method}.json"), *directory.glob(f"{method}.seed*.json")):
        path.unlink()


def read_measurements(directory: Path, pool: str, order: Sequence[str] = ()) -> dict[str, Measurement]:
    """All measurements on a pool by their keys, those of the methods in `order` first.

    Raises:
        EvaluationError: a file is invalid, or was measured on another pool.
    """
    found = {}
    for path in sorted(directory.glob("*.json")):
        try:
            measurement = Measurement.model_validate_json(path.read_text(encoding="utf-8"))
        except ValidationError as error:
            raise EvaluationError(
                f"{path} is not a measurement ({error.errors()[0]['msg']}): remove it and evaluate again"
            ) from error
        if measurement.pool != pool:
            raise EvaluationError(
                f"{path} was measured on other data or with another split (pool {measurement.pool}, now {pool}): remove it, or choose "
                "another output directory"
            )
        found[measurement.key] = measurement
    rank = {name: place for place, name in enumerate(order)}
    return dict(sorted(found.items(), key=lambda item: rank.get(item[1].method, len(rank))))
