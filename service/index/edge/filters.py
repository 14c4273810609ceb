"""Qdrant Edge filters for searches and pages."""

from uuid import UUID

import qdrant_edge as edge

from service.index.base import DELETED, NoteFilter
from service.index.points import point_id


def matching(where: NoteFilter) -> edge.Filter:
    """Returns the filter for a search."""
    must: list[edge.ConditionType] = []
    if where.category is not None:
        must.append(edge.FieldCondition("category", match=edge.MatchValue(where.category)))
    if where.hashtag_key is not None:
        must.append(edge.FieldCondition("hashtag_keys", match=edge.MatchValue(where.hashtag_key)))
    if where.created_after is not None:
        must.append(edge.FieldCondition("created_at", range=edge.RangeDateTime(gt=where.created_after.isoformat())))
    excluded: set[edge.PointId] = {UUID(point_id(note_id)) for note_id in where.exclude}
    return edge.Filter(must=must, must_not=[edge.HasIdCondition(excluded)] if excluded else [])


def tombstones() -> edge.Filter:
    """Selects the tombstones of deleted notes."""
    return edge.Filter(must=[_deleted()])


def lacking_vector(vector_name: str) -> edge.Filter:
    """Selects notes that have no vector of a model."""
    return edge.Filter(must_not=[edge.HasVectorCondition(vector_name), _deleted()])


def without_vector(vector_name: str) -> edge.Filter:
    """Selects points that have no vector of a model: notes, and all tombstones. The library knows their number without counting."""
    return edge.Filter(must_not=[edge.HasVectorCondition(vector_name)])


def _deleted() -> edge.FieldCondition:
    return edge.FieldCondition(DELETED, range=edge.RangeFloat(gte=0.0))
