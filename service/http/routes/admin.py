"""`/admin/notes`: exports and imports the whole index, for backups."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from notellm.messages import EXAMPLE_NOTE, MAX_NOTES
from notellm.note import Note
from service.errors import IndexUnavailable, StorageFull
from service.http.problems import describe_problems
from service.http.routes.common import EVERY_CALL, READS_BODY, check_caller
from service.notes import ArchivedNote, Deletion, NoteArchive, Restored, archived

MAX_NAME_CHARS = 300
WRITES = describe_problems(*EVERY_CALL, *READS_BODY, IndexUnavailable, StorageFull)
router = APIRouter(prefix="/admin", tags=["admin"], dependencies=[Depends(check_caller)])


class NotesPage(BaseModel):
    """One page of the index."""

    vector_name: str = Field(
        description="Name of the model's vectors.", examples=["smollm2-135m-stackexchange-1f0c2b8d5e6a7934"]
    )
    dimensions: int = Field(examples=[128])
    total: int | None = Field(
        default=None, description="Notes in the index, an estimate above a million on a Qdrant server; only on the first page."
    )
    next: UUID | None = Field(default=None, description="`start` of the next page; missing on the last page.")
    notes: list[dict[str, JsonValue]] = Field(
        description="`note`, `content_hash` and `vector` of each note, as `POST /admin/notes` takes them."
    )
    deleted: list[dict[str, JsonValue]] = Field(
        description="`id` and `version` of the deleted notes on this page, as `POST /admin/notes/deleted` takes them."
    )


class RestoreRequest(BaseModel):
    """Notes from a backup."""

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

    vector_name: str = Field(description="Name of the model's vectors: must be that of the served model.")
    notes: list[ArchivedNote] = Field(min_length=1, max_length=MAX_NOTES, description="Each id may occur only once.")


class DeletedRequest(BaseModel):
    """Deleted notes from a backup."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"example": {"notes": [{"id": "gone-7", "version": 3}]}}
    )

    notes: list[Deletion] = Field(min_length=1, max_length=MAX_NOTES)


class RestoredNote(BaseModel):
    """The result for one note."""

    id: str
    status: Restored = Field(
        description="`stored`: now in the index. `deleted`: now deleted. `unchanged`: it was stored or deleted already. `kept`: the "
        "index keeps another state of the note, which may be newer."
    )


class RestoreResponse(BaseModel):
    """The result for every note, in the order of the request. The answer arrives only when all of them are on disk."""

    notes: list[RestoredNote]


async def get_archive(request: Request) -> NoteArchive:
    """Returns the archive of the application's index."""
    archive: NoteArchive = request.app.state.archive()
    return archive


ArchiveDep = Annotated[NoteArchive, Depends(get_archive)]


@router.get("/notes", responses=describe_problems(*EVERY_CALL, IndexUnavailable), response_model_exclude_none=True)
async def export_notes(
    archive: ArchiveDep,
    start: Annotated[UUID | None, Query(description="`next` of the previous page; leave it out for the first page.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_NOTES, description="Maximum number of notes on the page.")] = 100,
    vector_name: Annotated[
        str | None,
        Query(
            max_length=MAX_NAME_CHARS,
            description="Name of the vectors to return. Repeat the name from the first page: all pages then have vectors of the same "
            "model, even if the served model changes meanwhile. Without a name, the served model's vectors are returned.",
        ),
    ] = None,
) -> NotesPage:
    """Returns all notes with their vectors, and the ids and versions of deleted notes, page by page.

    Notes that are written during the export may be missing. Every other note occurs exactly once.
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
    """Stores notes with the vectors from the backup, without embedding them. A stored note that may be newer is kept."""
    return _response(body.notes, await archive.restore(body.notes, body.vector_name))


@router.post("/notes/deleted", responses=WRITES)
async def import_deleted(body: DeletedRequest, archive: ArchiveDep) -> RestoreResponse:
    """Deletes the notes that were deleted before the backup was made, so that a late write does not bring them back."""
    return _response(body.notes, await archive.bury(body.notes))


def _response(notes: Sequence[ArchivedNote | Deletion], statuses: Sequence[Restored]) -> RestoreResponse:
    return RestoreResponse(
        notes=[RestoredNote(id=note.id, status=status) for note, status in zip(notes, statuses, strict=True)]
    )
