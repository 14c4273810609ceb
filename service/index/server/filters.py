"""Qdrant server filters for searches, conditional writes and pages."""

from qdrant_client import models

from service.index.base import DELETED, NoteFilter
from service.index.points import point_id


def matching(where: NoteFilter) -> models.Filter:
    """Returns the filter for a search."""
    must: list[models.Condition] = []
    if where.category is not None:
        must.append(models.FieldCondition(key="category", match=models.MatchValue(value=where.category)))
    if where.hashtag_key is not None:
        must.append(models.FieldCondition(key="hashtag_keys", match=models.MatchValue(value=where.hashtag_key)))
    if where.created_after is not None:
        must.append(models.FieldCondition(key="created_at", range=models.DatetimeRange(gt=where.created_after)))
    excluded: list[models.ExtendedPointId] = [point_id(note_id) for note_id in where.exclude]
    return models.Filter(must=must, must_not=[models.HasIdCondition(has_id=excluded)] if excluded else [])


def not_newer_than(version: int | None) -> models.Filter | None:
    """Selects the points that a write of this version may replace: all but newer notes and deletions of this or a newer version."""
    if version is None:
        return None
    newer = models.FieldCondition(key="version", range=models.Range(gt=float(version)))
    deleted = models.FieldCondition(key=DELETED, range=models.Range(gte=float(version)))
    return models.Filter(must_not=[newer, deleted])


def older_than(version: int | None) -> models.Filter:
    """Selects points with a lower version. It selects none for a note without a version: versions start at 0."""
    before = models.Range(lt=float(version or 0))
    return models.Filter(
        should=[models.FieldCondition(key="version", range=before), models.FieldCondition(key=DELETED, range=before)]
    )


def buried_by(version: int) -> models.Filter:
    """Selects the points that a tombstone of this version replaces."""
    return models.Filter(
        should=[
            models.FieldCondition(key="version", range=models.Range(lte=float(version))),
            models.FieldCondition(key=DELETED, range=models.Range(lt=float(version))),
        ]
    )


def unnumbered(points: list[models.ExtendedPointId]) -> models.Filter:
    """Selects those of the points that are notes without a version."""
    numbered = models.FieldCondition(key="version", range=models.Range(gte=0.0))
    return models.Filter(must=[models.HasIdCondition(has_id=points)], must_not=[numbered, _deleted()])


def of_text(content_hash: str) -> models.Filter:
    """Selects notes with this text."""
    return models.Filter(must=[models.FieldCondition(key="content_hash", match=models.MatchValue(value=content_hash))])


def tombstones() -> models.Filter:
    """Selects the tombstones of deleted notes."""
    return models.Filter(must=[_deleted()])


def lacking_vector(vector_name: str) -> models.Filter:
    """Selects notes that have no vector of a model."""
    return models.Filter(must_not=[models.HasVectorCondition(has_vector=vector_name), _deleted()])


def without_vector(vector_name: str) -> models.Filter:
    """Selects points that have no vector of a model: notes, and all tombstones. The server knows their number without counting."""
    return models.Filter(must_not=[models.HasVectorCondition(has_vector=vector_name)])


def _deleted() -> models.FieldCondition:
    return models.FieldCondition(key=DELETED, range=models.Range(gte=0.0))
