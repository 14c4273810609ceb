"""`RestoreJob` and `EmbedJob`: what a backup holds to the service, with the vectors that it brings or without them."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar, cast

from notellm.note import Note
from service.archive import ArchivedNote, Deletion
from service.bulk.backup import is_frame
from service.bulk.batches import Item
from service.bulk.client import Json, Refused, ServiceClient
from service.bulk.ingest import IngestJob
from service.bulk.rows import Row

NoteT = TypeVar("NoteT", ArchivedNote, Note)


class _BackupJob(ABC, Generic[NoteT]):
    """See `Job`."""

    name = "import"

    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    def parse(self, row: Row) -> Item | None:
        """A line of a backup; None for header and footer."""
        assert isinstance(row.content, bytes)
        line = json.loads(row.content)
        if not isinstance(line, dict):
            raise ValueError("is no JSON object")  # noqa: TRY004 - a bad row is a ValueError
        if is_frame(line):
            return None
        return Deletion.model_validate(line["deleted"]) if "deleted" in line else self._note(row.content, line)

    async def send(self, items: Sequence[Item]) -> list[str]:
        """Stores notes, and deletes those that were deleted; see `Job.send`."""
        statuses: dict[int, str] = {}
        for deletions, send in ((False, self._store), (True, self._delete)):
            places = [place for place, item in enumerate(items) if isinstance(item, Deletion) is deletions]
            if places:
                try:
                    statuses |= zip(places, await send(cast("Any", [items[place] for place in places])), strict=True)
                except Refused as refusal:
                    refusal.place(places)
                    raise
        return [statuses[place] for place in range(len(items))]

    @abstractmethod
    def _note(self, text: bytes, line: Json) -> NoteT: ...

    @abstractmethod
    async def _store(self, notes: Sequence[NoteT]) -> list[str]: ...

    async def _delete(self, deletions: Sequence[Deletion]) -> list[str]:
        return await self._post("/admin/notes/deleted", {"notes": [deletion.model_dump() for deletion in deletions]})

    async def _post(self, path: str, body: Json) -> list[str]:
        return [note["status"] for note in (await self._client.post(path, body))["notes"]]


class RestoreJob(_BackupJob[ArchivedNote]):
    """Stores the notes of a backup with the vectors that they bring.

    Args:
        client: of the service.
        vector_name: of the backup's vectors.
    """

    def __init__(self, client: ServiceClient, vector_name: str) -> None:
        super().__init__(client)
        self._vector_name = vector_name

    def _note(self, text: bytes, line: Json) -> ArchivedNote:
        return ArchivedNote.model_validate_json(text)

    async def _store(self, notes: Sequence[ArchivedNote]) -> list[str]:
        body = {"vector_name": self._vector_name, "notes": [note.model_dump(mode="json", exclude_none=True) for note in notes]}
        return await self._post("/admin/notes", body)


class EmbedJob(_BackupJob[Note]):
    """Embeds the notes of a backup again, which may be of another model."""

    def _note(self, text: bytes, line: Json) -> Note:
        return Note.model_validate_json(json.dumps(line.get("note")))

    async def _store(self, notes: Sequence[Note]) -> list[str]:
        return await IngestJob(self._client).send(notes)
