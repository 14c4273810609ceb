"""`/notes`: embed, find, suggest, read, forget."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Response

from notellm.messages import (
    EXAMPLE_NOTE,
    EmbeddedNote,
    EmbedRequest,
    EmbedResponse,
    Encoding,
    HashtaggedNote,
    HashtagsRequest,
    HashtagsResponse,
    Neighbour,
    NeighbourFilter,
    SimilarRequest,
    SimilarResponse,
    StoredNote,
    StoredNoteWithVector,
    SuggestedCategory,
    SuggestedHashtag,
)
from notellm.note import NoteId, clean_hashtag, hashtag_key
from service.errors import IndexUnavailable, InvalidRequest, NoteNotFound, QueueFull, StorageFull
from service.http.problems import describe_problems
from service.http.routes.common import (
    EVERY_CALL,
    READS_BODY,
    RUNS_MODEL,
    ServedDep,
    SettingsDep,
    check_caller,
    encode_vector,
)
from service.notes import (
    IndexedNote,
    NoteFilter,
    Page,
    ScoredNote,
    StoredResult,
    SuggestionOptions,
    Suggestions,
)

router = APIRouter(prefix="/notes", tags=["notes"], dependencies=[Depends(check_caller)])
PathId = Annotated[NoteId, Path(description="The note's id.", openapi_examples={"stored": {"value": EXAMPLE_NOTE["id"]}})]


@router.post(
    "/embed",
    responses=describe_problems(*EVERY_CALL, *READS_BODY, *RUNS_MODEL, IndexUnavailable, StorageFull),
    response_model_exclude_none=True,
)
async def embed(body: EmbedRequest, served: ServedDep, settings: SettingsDep) -> EmbedResponse:
    """Embeds notes and stores them under their ids.

    Sending a note again is safe: an unchanged note is not embedded again, and a changed note replaces the stored one. The answer
    arrives when every note is on disk. If no answer arrives, some notes may be stored, each of them complete: send the request again.
    With `suggest`, the answer also has hashtags and a category for each note, as from `POST /notes/hashtags`. Nothing is stored before
    they are known, and a suggested hashtag is not stored: send the note again with those that its author keeps.
    """
    _check_count(len(body.notes), settings.max_notes_per_request)
    options = None
    if body.suggest is not None:
        _check_count(len(body.notes), settings.max_hashtag_notes_per_request, "with `suggest`")
        options = SuggestionOptions(body.suggest.count, body.suggest.category)
    if body.store:
        results = await served.notes.store(body.notes, strict=body.strict, suggest=options)
    else:
        texts = await served.notes.embed_texts(body.notes, strict=body.strict, suggest=options)
        results = [StoredResult("embedded", one.vector, one.tokens, one.truncated, one.suggestions) for one in texts]
    return EmbedResponse(
        model=served.notes.manifest.name,
        dimensions=served.notes.manifest.dimensions,
        vector_name=None if body.store else served.notes.vector_name,
        notes=[
            EmbeddedNote(
                id=note.id,
                status=one.status,
                tokens=one.tokens,
                truncated=list(one.truncated),
                vector=encode_vector(one.vector, body.encoding_format) if body.vectors and one.vector is not None else None,
                suggestions=_suggested(one.suggestions) if one.suggestions is not None else None,
            )
            for note, one in zip(body.notes, results, strict=True)
        ],
    )


@router.get(
    "/{note_id}/similar",
    responses=describe_problems(*EVERY_CALL, NoteNotFound, QueueFull, IndexUnavailable),
    response_model_exclude_none=True,
)
async def similar(note_id: PathId, query: Annotated[NeighbourFilter, Query()], served: ServedDep) -> SimilarResponse:
    """Finds the notes nearest to a stored note. The note itself is not among them."""
    neighbours = await served.notes.similar_to_stored([note_id], _filter(query, "query"), **_page(query))
    return _neighbours(served.notes.manifest.name, neighbours.found)


@router.post(
    "/similar",
    responses=describe_problems(*EVERY_CALL, *READS_BODY, *RUNS_MODEL, NoteNotFound, IndexUnavailable),
    response_model_exclude_none=True,
)
async def similar_to(body: SimilarRequest, served: ServedDep) -> SimilarResponse:
    """Finds the notes nearest to a note that is not stored (cold start), or to stored notes, such as a user's last reads.

    For several notes, the query is the mean of their vectors. These notes and those in `exclude` are not among the neighbours.
    """
    where = _filter(body, "body", exclude=body.exclude)
    if body.note is not None:
        neighbours = await served.notes.similar_to_text(body.note, where, **_page(body))
    else:
        neighbours = await served.notes.similar_to_stored(body.ids or [], where, skip_missing=body.skip_missing, **_page(body))
    return _neighbours(served.notes.manifest.name, neighbours.found, neighbours.missing if body.skip_missing else None)


@router.post("/hashtags", responses=describe_problems(*EVERY_CALL, *READS_BODY, *RUNS_MODEL), response_model_exclude_none=True)
async def hashtags(body: HashtagsRequest, served: ServedDep, settings: SettingsDep) -> HashtagsResponse:
    """Suggests hashtags that a note does not have yet, and a category from the checkpoint's list. Nothing is stored."""
    _check_count(len(body.notes), settings.max_hashtag_notes_per_request)
    suggested = await served.notes.suggest(body.notes, SuggestionOptions(body.count, body.category))
    return HashtagsResponse(model=served.notes.manifest.name, notes=[_suggested(note) for note in suggested])


@router.get(
    "/{note_id}", responses=describe_problems(*EVERY_CALL, NoteNotFound, IndexUnavailable), response_model_exclude_none=True
)
async def read(
    note_id: PathId,
    served: ServedDep,
    vector: Annotated[bool, Query(description="True also returns the stored vector.")] = False,
    encoding_format: Annotated[Encoding, Query()] = "float",
) -> StoredNoteWithVector:
    """Returns a stored note."""
    note = await served.notes.get(note_id, with_vector=vector)
    return StoredNoteWithVector(
        **_fields(note), vector=encode_vector(note.vector, encoding_format) if note.vector is not None else None
    )


@router.delete(
    "/{note_id}",
    status_code=HTTPStatus.NO_CONTENT,
    responses=describe_problems(*EVERY_CALL, NoteNotFound, IndexUnavailable, StorageFull),
)
async def forget(note_id: PathId, served: ServedDep) -> Response:
    """Deletes a note. Once this answer arrives, no other answer contains it. Its bytes may stay in files until overwritten."""
    await served.notes.delete(note_id)
    return Response(status_code=HTTPStatus.NO_CONTENT)


def _check_count(count: int, limit: int, when: str = "") -> None:
    if count > limit:
        raise InvalidRequest.of(
            "notes", "too_long", f"at most {limit} notes per request {when}".rstrip() + f", but there are {count}"
        )


def _suggested(note: Suggestions) -> HashtaggedNote:
    return HashtaggedNote(
        hashtags=[
            SuggestedHashtag(hashtag=tag.hashtag, confidence=tag.confidence, sources=list(tag.sources)) for tag in note.hashtags
        ],
        category=SuggestedCategory(category=note.category[0], confidence=note.category[1]) if note.category else None,
        tokens=note.tokens,
        truncated=list(note.truncated),
    )


def _filter(wanted: NeighbourFilter, place: str, exclude: list[str] | None = None) -> NoteFilter:
    key = None
    if wanted.hashtag is not None and not (key := hashtag_key(clean_hashtag(wanted.hashtag))):
        raise InvalidRequest.of(
            "hashtag" if place == "body" else f"{place}.hashtag",
            "empty_hashtag",
            "is not a hashtag: no letter, digit or symbol is left",
        )
    return NoteFilter(category=wanted.category, hashtag_key=key, created_after=wanted.created_after, exclude=exclude or ())


def _page(wanted: NeighbourFilter) -> Page:
    return {"limit": wanted.limit, "offset": wanted.offset, "min_score": wanted.min_score, "diversity": wanted.diversity}


def _neighbours(model: str, found: list[ScoredNote], missing: list[str] | None = None) -> SimilarResponse:
    neighbours = [Neighbour(**_fields(note), score=min(max(note.score, -1.0), 1.0)) for note in found]
    return SimilarResponse(model=model, neighbours=neighbours, missing=missing)


def _fields(note: IndexedNote | ScoredNote) -> dict[str, Any]:
    return {name: note.payload.get(name) for name in StoredNote.model_fields}
