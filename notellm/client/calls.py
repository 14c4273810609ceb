"""`Call`: a request to the service and how to read its answer, without sending it. Both clients send these."""

import array
import base64
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from notellm.client.problems import ClientError
from notellm.messages import (
    EmbeddedNote,
    EmbedResponse,
    HashtaggedNote,
    HashtagsResponse,
    ModelInfo,
    SimilarResponse,
    StoredNoteWithVector,
)
from notellm.note import NoteText

AnyT = TypeVar("AnyT")
AnswerT_co = TypeVar("AnswerT_co", covariant=True)
Json = dict[str, Any]
NoteLike = NoteText | Mapping[str, Any]
"""A note, or its fields as the API takes them."""
PAGE_NOTES = 100


@dataclass(frozen=True)
class Call(Generic[AnswerT_co]):
    """One request.

    Every call may be repeated: storing, deleting or asking twice gives what once would give.

    Attributes:
        method: HTTP method.
        path: path below the service's address.
        read: turns the JSON of the answer (None without a body) into the result.
        query: parameters in the address; None for those that are not set.
        body: JSON to send, if any.
    """

    method: str
    path: str
    read: Callable[[Any], AnswerT_co]
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None


def embed(notes: Sequence[Json], *, store: bool, strict: bool, vectors: bool, suggest: Json | None) -> Call[list[EmbeddedNote]]:
    """`POST /notes/embed`."""
    body = {"notes": notes, "store": store, "strict": strict, "vectors": vectors, "encoding_format": "base64"}
    return Call(
        "POST",
        "/notes/embed",
        lambda answer: _each(notes, _embedded(answer)),
        body=body | ({"suggest": suggest} if suggest else {}),
    )


def suggest(notes: Sequence[Json], *, count: int, category: bool) -> Call[list[HashtaggedNote]]:
    """`POST /notes/hashtags`."""
    body = {"notes": notes, "count": count, "category": category}
    return Call(
        "POST", "/notes/hashtags", lambda answer: _each(notes, HashtagsResponse.model_validate(answer).notes), body=body
    )


def similar(note_id: str, wanted: Mapping[str, Any]) -> Call[SimilarResponse]:
    """`GET /notes/{id}/similar`."""
    return Call("GET", f"/notes/{_quoted(note_id)}/similar", SimilarResponse.model_validate, query=wanted)


def similar_to(body: Mapping[str, Any]) -> Call[SimilarResponse]:
    """`POST /notes/similar`."""
    given = {name: value for name, value in body.items() if value is not None}
    return Call("POST", "/notes/similar", SimilarResponse.model_validate, body=given)


def get(note_id: str, *, vector: bool) -> Call[StoredNoteWithVector]:
    """`GET /notes/{id}`."""
    query = {"vector": "true", "encoding_format": "base64"} if vector else {}
    return Call(
        "GET", f"/notes/{_quoted(note_id)}", lambda answer: _numbers(StoredNoteWithVector.model_validate(answer)), query
    )


def delete(note_id: str) -> Call[None]:
    """`DELETE /notes/{id}`."""
    return Call("DELETE", f"/notes/{_quoted(note_id)}", lambda _: None)


def model() -> Call[ModelInfo]:
    """`GET /model`."""
    return Call("GET", "/model", ModelInfo.model_validate)


@dataclass(frozen=True)
class NotesPage:
    """Some of the stored notes, and what names the next page."""

    notes: list[StoredNoteWithVector]
    vector_name: str
    next: str | None


def page(start: str | None = None, vector_name: str | None = None) -> Call[NotesPage]:
    """`GET /admin/notes`."""
    query = {"limit": PAGE_NOTES, "start": start, "vector_name": vector_name}
    return Call("GET", "/admin/notes", _page, query=query)


def encode(texts: Sequence[str]) -> Call[list[bytes]]:
    """`POST /v1/embeddings`; each vector as little-endian float32 bytes."""
    body = {"input": list(texts), "encoding_format": "base64"}
    return Call(
        "POST",
        "/v1/embeddings",
        lambda answer: _each(texts, [base64.b64decode(one["embedding"]) for one in answer["data"]]),
        body=body,
    )


def as_json(note: NoteLike) -> Json:
    """The fields of a note as they are sent. They are checked by the service alone, so that both agree."""
    if isinstance(note, BaseModel):
        return note.model_dump(mode="json", exclude_none=True)
    try:
        fields: Json = to_jsonable_python(dict(note))  # times, tuples
    except ValueError as error:
        raise ClientError(f"a note cannot be sent: {error}") from error
    return fields


def _quoted(note_id: str) -> str:
    if note_id in {"", ".", ".."}:  # they would leave their place in the path
        raise ClientError(f"{note_id!r} cannot be the id of a note")
    return quote(note_id, safe="")


def _each(asked: Sequence[object], answers: list[AnyT]) -> list[AnyT]:
    """The answers, one for each of what was asked."""
    if len(answers) != len(asked):
        raise ValueError(f"{len(asked)} notes were sent, and {len(answers)} answered")
    return answers


def _embedded(answer: Any) -> list[EmbeddedNote]:  # noqa: ANN401
    return list(map(_numbers, EmbedResponse.model_validate(answer).notes))


def _page(answer: Any) -> NotesPage:  # noqa: ANN401
    notes = [
        _numbers(
            StoredNoteWithVector.model_validate(
                _EMPTY | one["note"] | {"content_hash": one.get("content_hash") or "", "vector": one.get("vector")}
            )
        )
        for one in answer["notes"]
    ]
    return NotesPage(notes, answer["vector_name"], answer.get("next"))


_EMPTY: Json = {"title": "", "content": "", "hashtags": []}
NoteT = TypeVar("NoteT", EmbeddedNote, StoredNoteWithVector)


def _numbers(note: NoteT) -> NoteT:
    """The note with its vector as a list of numbers. It travels in base64, which is shorter and keeps every bit."""
    if not isinstance(note.vector, str):
        return note
    numbers = array.array("f", base64.b64decode(note.vector))
    if sys.byteorder == "big":
        numbers.byteswap()
    return note.model_copy(update={"vector": numbers.tolist()})
