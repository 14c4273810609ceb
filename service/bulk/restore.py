"""`RestoreJob`: the notes of a backup to the service, with the vectors that they bring."""

import json
from collections.abc import Sequence

from notellm.note import Note
from service.archive import ArchivedNote
from service.bulk.backup import is_frame
from service.bulk.client import ServiceClient
from service.bulk.ingest import IngestJob
from service.bulk.rows import Row


class RestoreJob:
    """See `Job`.

    Args:
        client: of the service.
        vector_name: of the backup's vectors.
    """

    name = "import"

    def __init__(self, client: ServiceClient, vector_name: str) -> None:
        self._client = client
        self._vector_name = vector_name

    def parse(self, row: Row) -> ArchivedNote | None:
        """A line of a backup; None for header and footer."""
        line = _line(row)
        return None if is_frame(line) else ArchivedNote.model_validate_json(row.content)  # type: ignore[arg-type]

    async def send(self, items: Sequence[ArchivedNote]) -> list[str]:
        """Stores them as they are; see `Job.send`."""
        body = {"vector_name": self._vector_name, "notes": [item.model_dump(mode="json", exclude_none=True) for item in items]}
        answer = await self._client.post("/admin/notes", body)
        return [note["status"] for note in answer["notes"]]


class EmbedJob(IngestJob):
    """Embeds the notes of a backup again, which may be of another model."""

    name = "import"

    def parse(self, row: Row) -> Note | None:  # type: ignore[override]
        """The note of a line of a backup; None for header and footer."""
        line = _line(row)
        return None if is_frame(line) else Note.model_validate_json(json.dumps(line.get("note")))


def _line(row: Row) -> dict[str, object]:
    assert isinstance(row.content, bytes)
    line = json.loads(row.content)
    if not isinstance(line, dict):
        raise ValueError("is no JSON object")  # noqa: TRY004 - a bad row is a ValueError
    return line
