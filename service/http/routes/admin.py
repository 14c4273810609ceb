"""`/admin`: the index as a whole, for backups."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from notellm.note import Note
from service.errors import IndexUnavailable, StorageFull
from service.http.problems import describe_problems
from service.http.routes.common import EVERY_CALL, READS_BODY, check_caller
from service.http.schemas import EXAMPLE_NOTE
from service.notes import ArchivedNote, Deletion, NoteArchive, Restored, archived
from service.settings import MAX_NOTES

MAX_NAME_CHARS = 300
WRITES = describe_problems(*EVERY_CALL, *READS_BODY, IndexUnavailable, StorageFull)
router = APIRouter(prefix="/admin", tags=["admin"], dependencies=[Depends(check_caller)])


class NotesPage(BaseModel):
    """A part of the index."""

    vector_name: str = Field(description="Whose vectors these are.", examples=["smollm2-135m-stackexchange-1f0c2b8d5e6a7934"])
    dimensions: int = Field(examples=[128])
    total: int | None = Field(default=None, description="Notes in the index; with the first page only.")
    next: UUID | None = Field(default=None, description="`start` of the following page; missing after the last.")
    notes: list[dict[str, JsonValue]] = Field(
        description="`note`, `content_hash` and `vector`, as `POST /admin/notes` takes them."
    )
    deleted: list[dict[str, JsonValue]] = Field(
        description="`id` and `version` of what lies between them of deleted notes, as `POST /admin/notes/deleted` takes them."
    )


class RestoreRequest(BaseModel):
    """Notes of a backup."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "example": {
                "vector_name": "smollm2-135m-stackexchange-1f0c2b8d5e6a7934",
                "notes": [
                    {
                        "note": EXAMPLE_NOTE,
                        "content_hash": Note.model_validate(EXAMPLE_NOTE).content_hash,
                        "vector": "mpkZP83MTD8=",
                    }
                ],
            }
        },
    )

    vector_name: str = Field(description="Whose vectors these are: must be the served model's.")
    notes: list[ArchivedNote] = Field(min_length=1, max_length=MAX_NOTES, description="No id may stand twice.")


class DeletedRequest(BaseModel):
    """Deleted notes of a backup."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"example": {"notes": [{"id": "gone-7", "version": 3}]}}
    )

    notes: list[Deletion] = Field(min_length=1, max_length=MAX_NOTES)


class RestoredNote(BaseModel):
    """What became of one note."""

    id: str
    status: Restored = Field(
        description="`stored`: it is in the index now. `deleted`: it is deleted now. `unchanged`: it was already. `kept`: the index "
        "holds another state of it that is not known to be older, and keeps it."
    )


class RestoreResponse(BaseModel):
    """Every note of the request, in its order. It arrives only when all of them are on disk."""

    notes: list[RestoredNote]


async def get_archive(request: Request) -> NoteArchive:
    """The archive of the application's index."""
    archive: NoteArchive = request.app.state.archive()
    return archive


ArchiveDep = Annotated[NoteArchive, Depends(get_archive)]


@router.get("/notes", responses=describe_problems(*EVERY_CALL, IndexUnavailable), response_model_exclude_none=True)
async def export_notes(
    archive: ArchiveDep,
    start: Annotated[UUID | None, Query(description="`next` of the page before; the first page without.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_NOTES, description="Most notes of the page.")] = 100,
    vector_name: Annotated[
        str | None,
        Query(
            max_length=MAX_NAME_CHARS,
            description="Whose vectors are wanted: that of the first page, so that all are of one model also where another one "
            "answers meanwhile. Without it, those of the model that answers.",
        ),
    ] = None,
) -> NotesPage:
    """Returns all notes with their vectors, and what is left of deleted ones, page by page.

    Notes written meanwhile may be missing; all others are there once.
    """
    name = vector_name or archive.vector_name
    dimensions = await archive.dimensions_of(name)
    page = await archive.page(str(start) if start else None, limit, name)
    return NotesPage(
        vector_name=name,
        dimensions=dimensions,
        total=await archive.count() if start is None else None,
        next=UUID(page.next) if page.next else None,
        notes=[archived(note) for note in page.notes],
        deleted=[{"id": left.id, "version": left.version} for left in page.deleted],
    )


@router.post("/notes", responses=WRITES)
async def import_notes(body: RestoreRequest, archive: ArchiveDep) -> RestoreResponse:
    """Stores notes with the vectors that they bring, without embedding them. Never replaces what may be newer."""
    return _response(body.notes, await archive.restore(body.notes, body.vector_name))


@router.post("/notes/deleted", responses=WRITES)
async def import_deleted(body: DeletedRequest, archive: ArchiveDep) -> RestoreResponse:
    """Deletes notes that were deleted where the backup was made, so that a late write does not bring them back."""
    return _response(body.notes, await archive.bury(body.notes))


def _response(notes: Sequence[ArchivedNote | Deletion], statuses: Sequence[Restored]) -> RestoreResponse:
    return RestoreResponse(
        notes=[RestoredNote(id=note.id, status=status) for note, status in zip(notes, statuses, strict=True)]
    )
