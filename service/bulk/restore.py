"""`RestoreJob` and `EmbedJob`: send a backup to the service, with its vectors or without them."""

import json
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

from notellm.client import ServiceProblem
from notellm.note import Note
from notellm.note_files import Row
from service.bulk.backup import is_frame
from service.bulk.batches import Item
from service.bulk.client import Json, ServiceClient
from service.errors import CommandError
from service.notes import ArchivedNote, Deletion

NoteT = TypeVar("NoteT", ArchivedNote, Note)


class _BackupJob(ABC, Generic[NoteT]):
    """See `Job`."""

    name = "import"

    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    def parse(self, row: Row) -> Item | None:
        """Reads a line of a backup; None for header and footer."""
        assert isinstance(row.content, bytes)
        line = json.loads(row.content)
        if not isinstance(line, dict):
            raise ValueError("is not a JSON object")  # noqa: TRY004 - a bad row is a ValueError
        if is_frame(line):
            return None
        return Deletion.model_validate(line["deleted"]) if "deleted" in line else self._note(row.content, line)

    async def send(self, items: Sequence[Item]) -> list[str]:
        """Stores notes, and deletes the notes that the backup lists as deleted; see `Job.send`."""
        statuses: dict[int, str] = {}
        for deletions, send in ((False, self._store), (True, self._delete)):
            places = [place for place, item in enumerate(items) if isinstance(item, Deletion) is deletions]
            statuses |= await _send_some(items, places, send)
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
    """Stores the notes of a backup with the backup's vectors.

    Args:
        client: the client of the service.
        vector_name: name of the backup's vectors.
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
    """Embeds the notes of a backup again and stores them as `RestoreJob` does. The backup may come from another model.

    Args:
        client: the client of the service.
        vector_name: name of the answering model's vectors.
        empty: whether the index is empty. If not, the job looks up each note, and does not embed a note that the index would keep.
    """

    def __init__(self, client: ServiceClient, vector_name: str, *, empty: bool = False) -> None:
        super().__init__(client)
        self._vector_name = vector_name
        self._empty = empty

    def _note(self, text: bytes, line: Json) -> Note:
        return Note.model_validate_json(json.dumps(line.get("note")))

    async def _store(self, notes: Sequence[Note]) -> list[str]:
        found = {} if self._empty else {place: await self._kept(note) for place, note in enumerate(notes)}
        statuses = {place: status for place, status in found.items() if status}
        wanted = [place for place in range(len(notes)) if place not in statuses]
        statuses |= await _send_some(notes, wanted, self._embed_and_store)
        return [statuses[place] for place in range(len(notes))]

    async def _kept(self, note: Note) -> str | None:
        """Returns the status of a note that the index would keep unchanged; None if the note may have to be stored.

        The rule is the same as in `NoteArchive.restore`, which makes the final decision for the notes that are sent.
        """
        if (stored := await self._client.find_note(note.id)) is None:
            return None
        version = stored.get("version")
        payload = {name: value for name, value in note.payload().items() if value is not None}
        if stored.items() <= payload.items() and payload.keys() - stored.keys() <= {"hashtag_keys"}:
            return "unchanged"
        newer = note.version is not None and version is not None and note.version > version
        return None if newer else "kept"

    async def _embed_and_store(self, notes: Sequence[Note]) -> list[str]:
        fields = [note.model_dump(mode="json", exclude_none=True) for note in notes]
        answer = await self._client.post("/notes/embed", {"notes": fields, "store": False, "encoding_format": "base64"})
        name = answer.get("vector_name")
        if name != self._vector_name:  # one replica may switch before another
            raise CommandError(
                f"the service answers with vectors of {name} now, but the import began with those of {self._vector_name}. The "
                "notes before that are stored: run the same command again to import the rest"
            )
        lines = [
            {"note": note, "content_hash": one.content_hash, "vector": embedded["vector"]}
            for note, one, embedded in zip(fields, notes, answer["notes"], strict=True)
        ]
        return await self._post("/admin/notes", {"vector_name": name, "notes": lines})


async def _send_some(
    items: Sequence[Any], places: Sequence[int], send: Callable[[Sequence[Any]], Awaitable[list[str]]]
) -> dict[int, str]:
    """Sends some of the items, and returns their statuses by place. If they are refused, the places in the error are those in `items`."""
    if not places:
        return {}
    try:
        return dict(zip(places, await send([items[place] for place in places]), strict=True))
    except ServiceProblem as refusal:
        refusal.place(places)
        raise
