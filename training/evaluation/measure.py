"""Measures a method on a pool."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from notellm.note import Note, hashtag_key
from notellm.vocabulary import hashtags_by_frequency
from training.evaluation.arriving import score_method, score_model
from training.evaluation.embedding import EmbeddedNotes, Embedder, LoadedCheckpoint, embed
from training.evaluation.generation import Generator, score_categories
from training.evaluation.hashtags import CUTS, calibration_error, score_hashtags
from training.evaluation.measurement import ArrivingScores, CategoryScores, CurvePoint, HashtagScores, Measurement
from training.evaluation.pool import TestPool
from training.evaluation.tag_baselines import TagMethod
from training.ranking import Retriever, Scores, Vectors, target_ranks
from training.suggesting import StoredNotes, suggested_hashtags, without_hashtags
from training.waves import Wave, waves

logger = logging.getLogger(__name__)
NEIGHBOURS = 10
Predict = Callable[[Sequence[Note], int], list[list[str]]]


def measure_retriever(retriever: Retriever, about: str, pool: TestPool) -> Measurement:
    """Measures a method that scores notes without embedding them."""
    return Measurement(method=retriever.name, about=about, pool=pool.fingerprint, **_ranks(retriever, pool))


def measure_embedder(embedder: Embedder, about: str, pool: TestPool) -> Measurement:
    """Measures a method that turns notes into vectors: ranks, throughput, and the share of neighbours with the same category."""
    embedded = embed(embedder, pool.notes)
    return Measurement(
        method=embedder.name,
        about=about,
        pool=pool.fingerprint,
        **_ranks(Vectors(embedder.name, embedded.vectors), pool),
        category_share=_category_share(embedder, embedded, pool),
        notes_per_second=round(embedded.notes_per_second, 2),
        machine=embedded.machine,
    )


def measure_checkpoint(
    loaded: LoadedCheckpoint, about: str, pool: TestPool, *, generated_notes: int, categories: Sequence[str],
    curve: Sequence[CurvePoint] = (),
) -> Measurement:  # fmt: skip
    """Measures a NoteLLM checkpoint: as `measure_embedder`, and what it generates for a sample of the notes."""
    measurement = measure_embedder(loaded, about, pool)
    generator = Generator(loaded)
    return measurement.model_copy(
        update={
            "hashtags": _hashtags(generator.hashtags, pool, generated_notes),
            "ranked_hashtags": _hashtags(_ranked(generator, pool), pool, generated_notes),
            "indexed_hashtags": _indexed(loaded, pool, generated_notes),
            "arriving_hashtags": _arriving(loaded, pool, generated_notes),
            "categories": _categories(generator, pool, generated_notes, categories),
            "curve": list(curve),
        }
    )


def measure_tags(make: Callable[[Sequence[Note]], TagMethod], about: str, pool: TestPool, generated_notes: int) -> Measurement:
    """Measures a method that only suggests hashtags. `make` makes it of the notes that are stored, which have hashtags."""
    method, parts = make(pool.training), _parts(pool, generated_notes)
    return Measurement(
        method=method.name,
        about=about,
        pool=pool.fingerprint,
        hashtags=_hashtags(method.predict, pool, generated_notes),
        arriving_hashtags=score_method(make, pool.training, parts) if parts else None,
    )


def _ranks(retriever: Retriever, pool: TestPool) -> dict[str, Any]:
    """The ranks of a measurement: in the whole pool, and within categories if the pool says so."""
    logger.info("%s: ranking %d pairs in a pool of %d notes", retriever.name, len(pool.sources), len(pool.notes))
    ranks = {"ranks": target_ranks(retriever, pool.sources, pool.targets)}
    if pool.within_category:
        pairs = pool.one_category
        ranks["within_category"] = target_ranks(retriever, pool.sources[pairs], pool.targets[pairs], allowed=pool.same_category)
    return {name: list(map(float, one)) for name, one in ranks.items()}


def _category_share(embedder: Embedder, embedded: EmbeddedNotes, pool: TestPool) -> list[float] | None:
    """For each note with a category and text besides hashtags: the share of its nearest such notes that have its category."""
    kept = _with_category_and_text(pool)
    if len(kept) <= NEIGHBOURS:
        return None
    unchanged = all(note.all_hashtags == () for note, _ in kept) and len(kept) == len(pool.notes)
    vectors: Scores = embedded.vectors if unchanged else embedder.embed([plain for _, plain in kept])
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    nearest = np.argpartition(-cosines, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
    names = np.array([note.category for note, _ in kept])
    same = names[nearest] == names[:, None]
    return [float(share) for share in same.mean(axis=1)]


def category_share_notes(pool: TestPool) -> tuple[Note, ...]:
    """The notes of `Measurement.category_share`, in its order."""
    return tuple(note for note, _ in _with_category_and_text(pool))


def _with_category_and_text(pool: TestPool) -> list[tuple[Note, Note]]:
    """The notes with a category and text besides hashtags, each with its copy without hashtags."""
    return [(note, plain) for note in pool.notes if note.category and (plain := without_hashtags(note))]


def hashtag_notes(pool: TestPool, count: int) -> tuple[Note, ...]:
    """Notes of the sample that have text to suggest hashtags for, and hashtags to compare with."""
    return tuple(note for note in pool.sample(count) if note.all_hashtags and without_hashtags(note))


def _hashtags(predict: Predict, pool: TestPool, count: int) -> HashtagScores | None:
    notes = hashtag_notes(pool, count)
    if not notes:
        return None
    return score_hashtags(predict(notes, max(CUTS)), [note.all_hashtags for note in notes])


def _indexed(loaded: LoadedCheckpoint, pool: TestPool, count: int) -> HashtagScores | None:
    """What the service suggests if the training notes are stored; None if the checkpoint does not say how much they count."""
    notes, weights = hashtag_notes(pool, count), loaded.checkpoint.manifest.hashtag_evidence
    if weights is None or not notes:
        return None
    stored = StoredNotes(loaded.model, loaded.prompt, [note for note in pool.training if note.all_hashtags])
    suggested = suggested_hashtags(stored, weights, notes, max(CUTS))
    wanted = [set(map(hashtag_key, note.all_hashtags)) for note in notes]
    rated = [
        (one.confidence, hashtag_key(one.hashtag) in keys) for keys, own in zip(wanted, suggested, strict=True) for one in own
    ]
    scores = score_hashtags([[one.hashtag for one in own] for own in suggested], [note.all_hashtags for note in notes])
    if not rated:
        return scores
    error = calibration_error([sure for sure, _ in rated], [right for _, right in rated])
    return scores.model_copy(update={"calibration_error": round(error, 6)})


def _arriving(loaded: LoadedCheckpoint, pool: TestPool, count: int) -> ArrivingScores | None:
    """What the service suggests as notes arrive; None if they are not split by time, or as in `_indexed`."""
    parts, weights = _parts(pool, count), loaded.checkpoint.manifest.hashtag_evidence
    return score_model(loaded, weights, pool.training, parts) if parts and weights is not None else None


def _parts(pool: TestPool, count: int) -> list[Wave]:
    """The validation and test notes as they arrive, if they are split by time. The sample of the test notes asks."""
    return waves(pool.arriving, {note.id for note in hashtag_notes(pool, count)})


def _ranked(generator: Generator, pool: TestPool) -> Predict:
    vocabulary = hashtags_by_frequency(pool.training)
    return lambda notes, count: generator.ranked_hashtags(notes, count, vocabulary)


def _categories(generator: Generator, pool: TestPool, count: int, known: Sequence[str]) -> CategoryScores | None:
    notes = [note for note in pool.sample(count) if note.category]
    if not notes or not known:
        return None
    return score_categories(generator.categories(notes), generator.categories(notes, known), notes, known)
