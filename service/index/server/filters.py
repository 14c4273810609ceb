"""What a Qdrant server is asked for: filters of searches, of conditional writes, of pages."""

from qdrant_client import models

from service.index.base import DELETED, NoteFilter
from service.index.points import point_id


def matching(where: NoteFilter) -> models.Filter:
    """The filter of a search."""
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
    """What a write of this version replaces: neither a newer note, nor a deletion that it comes too late for."""
    if version is None:
        return None
    newer = models.FieldCondition(key="version", range=models.Range(gt=float(version)))
    deleted = models.FieldCondition(key=DELETED, range=models.Range(gte=float(version)))
    return models.Filter(must_not=[newer, deleted])


def older_than(version: int | None) -> models.Filter:
    """Versions start at 0: of an unversioned note nothing that is stored is known to be older."""
    before = models.Range(lt=float(version or 0))
    return models.Filter(
        should=[models.FieldCondition(key="version", range=before), models.FieldCondition(key=DELETED, range=before)]
    )


def buried_by(version: int) -> models.Filter:
    """What a tombstone of this version replaces."""
    return models.Filter(
        should=[
            models.FieldCondition(key="version", range=models.Range(lte=float(version))),
            models.FieldCondition(key=DELETED, range=models.Range(lt=float(version))),
        ]
    )


def unnumbered(points: list[models.ExtendedPointId]) -> models.Filter:
    """Those of the points that are notes without a version."""
    numbered = models.FieldCondition(key="version", range=models.Range(gte=0.0))
    return models.Filter(must=[models.HasIdCondition(has_id=points)], must_not=[numbered, _deleted()])


def of_text(content_hash: str) -> models.Filter:
    """A note that has this text."""
    return models.Filter(must=[models.FieldCondition(key="content_hash", match=models.MatchValue(value=content_hash))])


def tombstones() -> models.Filter:
    """What is left of deleted notes."""
    return models.Filter(must=[_deleted()])


def lacking_vector(vector_name: str) -> models.Filter:
    """Notes that have no vector of a model."""
    return models.Filter(must_not=[models.HasVectorCondition(has_vector=vector_name), _deleted()])


def without_vector(vector_name: str) -> models.Filter:
    """Points that have no vector of a model: notes, and all tombstones. By itself, the server knows their number."""
    return models.Filter(must_not=[models.HasVectorCondition(has_vector=vector_name)])


def _deleted() -> models.FieldCondition:
    return models.FieldCondition(key=DELETED, range=models.Range(gte=0.0))
