"""`NoteArchive`: exports the whole index for a backup and imports it again, with unchanged vectors."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from notellm.note import Note, NoteId, NoteVersion
from service.errors import FieldError, InvalidRequest
from service.index import LENGTH_TOLERANCE, IndexedNote, NoteIndex, NotePage, Restored, Tombstone, Vector
from service.notes.vectors import vector_from_base64, vector_to_base64
from service.observability import Metrics


class ArchivedNote(BaseModel):
    """A note from a backup."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    note: Note
    content_hash: str = Field(description="The hash when the vector was computed. It must still match the note.")
    vector: str = Field(description="Unit vector: the little-endian float32 bytes in base64.")

    @property
    def id(self) -> str:
        """The note's id."""
        return self.note.id


class Deletion(BaseModel):
    """A deleted note in a backup."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: NoteId
    version: NoteVersion = Field(description="The version that was deleted: this version or a lower one is not stored again.")


def archived(note: IndexedNote) -> dict[str, JsonValue]:
    """Writes a stored note as the JSON of an `ArchivedNote`. It is not validated: a note that would be refused today is kept."""
    vector = vector_to_base64(note.vector) if note.vector is not None else None
    return {"note": sent_fields(note), "content_hash": note.payload.get("content_hash"), "vector": vector}


def sent_fields(note: IndexedNote) -> dict[str, Any]:
    """Returns the fields of `Note` that a stored note was sent with."""
    return {name: value for name in Note.model_fields if (value := note.payload.get(name)) is not None}


class NoteArchive:
    """Reads and restores an index.

    Args:
        index: the store, with the vectors of the model that answers.
        dimensions: the dimensions of these vectors.
        metrics: times the calls to the index.
    """

    def __init__(self, index: NoteIndex, dimensions: int, metrics: Metrics) -> None:
        self._index = index
        self._metrics = metrics
        self.vector_name = index.vector_name
        self._dimensions = dimensions

    async def page(self, start: str | None, limit: int, vector_name: str | None = None) -> NotePage:
        """See `NoteIndex.scroll`. Returns the vectors of any model that the index holds; those of this archive's model if None.

        Raises:
            InvalidRequest: the index holds no vectors of that model, or has dropped them.
        """
        name = vector_name or self.vector_name
        with self._metrics.index_operation("scroll"):
            page = await self._index.of_model(name).scroll(start=start, limit=limit)
        if any(note.vector is None for note in page.notes):  # the model's vectors may have been dropped meanwhile
            await self.dimensions_of(name)
        return page

    async def dimensions_of(self, vector_name: str) -> int:
        """Returns the dimensions of a model's vectors.

        Raises:
            InvalidRequest: the index holds no vectors of that model.
        """
        with self._metrics.index_operation("describe"):
            models = (await self._index.describe()).models
        for model in models:
            if model.vector == vector_name:
                return model.dimensions
        held = " and ".join(model.vector for model in models)
        raise InvalidRequest.of("query.vector_name", "another_model", f"the index holds vectors of {held}")

    async def count(self) -> int:
        """Returns the number of stored notes."""
        with self._metrics.index_operation("count"):
            return await self._index.count()

    async def restore(self, notes: Sequence[ArchivedNote], vector_name: str) -> list[Restored]:
        """Stores notes with the vectors from the backup. They are on disk when it returns.

        A stored note is replaced only if both notes have a version and the backup's version is higher.

        Raises:
            InvalidRequest: an id occurs twice, or a vector does not belong to this model or to the note's text. Nothing was stored.
        """
        if vector_name != self.vector_name:
            raise InvalidRequest.of(
                "vector_name", "another_model", f"the index holds vectors of {self.vector_name}: embed the notes again instead"
            )
        wanted = await asyncio.to_thread(self._indexed, notes)
        with self._metrics.index_operation("restore"):
            return await self._index.restore(wanted)

    async def bury(self, deletions: Sequence[Deletion]) -> list[Restored]:
        """Deletes the notes that were deleted before the backup was made. The deletions are on disk when it returns.

        A stored note with a higher version, or without a version, is kept.
        """
        with self._metrics.index_operation("bury"):
            return await self._index.bury([Tombstone(deletion.id, deletion.version) for deletion in deletions])

    def _indexed(self, notes: Sequence[ArchivedNote]) -> list[IndexedNote]:
        errors: list[FieldError] = []
        indexed: dict[str, IndexedNote] = {}
        for position, note in enumerate(notes):
            payload, vector = note.note.payload(), _decoded(note.vector)
            if broken := self._broken_rule(note, payload, vector, taken=note.id in indexed):
                field, rule, message = broken
                errors.append(FieldError(field=f"notes[{position}].{field}", rule=rule, message=message))
            elif vector is not None:
                indexed[note.id] = IndexedNote(payload, vector)
        if errors:
            raise InvalidRequest.listing(errors)
        return list(indexed.values())

    def _broken_rule(
        self, note: ArchivedNote, payload: dict[str, Any], vector: Vector | None, *, taken: bool
    ) -> tuple[str, str, str] | None:
        if taken:
            return "note.id", "unique", f"{note.id} is also the id of an earlier note"
        if payload["content_hash"] != note.content_hash:
            return "content_hash", "another_text", "the vector belongs to another text: embed the note again instead"
        if vector is None or vector.shape != (self._dimensions,):
            return "vector", "dimensions", f"must be the base64 of {self._dimensions} little-endian float32 numbers"
        if not abs(float(np.linalg.norm(vector)) - 1) <= LENGTH_TOLERANCE:  # written so that NaN fails as well
            return "vector", "unit_length", "must be finite and of length 1"
        return None


def _decoded(text: str) -> Vector | None:
    try:
        return vector_from_base64(text)
    except ValueError:
        return None
