"""`IngestJob`: sends notes to the service, which embeds and stores them."""

from collections.abc import Sequence

from notellm.client import ServiceProblem
from notellm.note import Note
from notellm.note_files import Row, read_note
from service.bulk.client import ServiceClient

HASHTAG_NOTES = 16


class IngestJob:
    """See `Job`.

    Args:
        client: the client of the service.
        hashtags: whether notes without hashtags get suggested ones before they are stored.
    """

    name = "ingest"

    def __init__(self, client: ServiceClient, *, hashtags: bool = False) -> None:
        self._client = client
        self._hashtags = hashtags

    def parse(self, row: Row) -> Note:
        """Reads a note from a row of fields or from a JSON object."""
        return read_note(row)

    async def send(self, items: Sequence[Note]) -> list[str]:
        """Embeds and stores notes; see `Job.send`."""
        notes = await self._with_hashtags(items) if self._hashtags else items
        body = {"notes": [note.model_dump(mode="json", exclude_none=True) for note in notes], "vectors": False}
        answer = await self._client.post("/notes/embed", body)
        return [note["status"] for note in answer["notes"]]

    async def _with_hashtags(self, notes: Sequence[Note]) -> list[Note]:
        """Returns the notes. A note without hashtags gets the hashtags that are stored with it or, if there are none, suggested ones."""
        tags = {note.id: await self._stored_hashtags(note) for note in notes if not note.all_hashtags}
        wanted = [note for note in notes if note.id in tags and not tags[note.id]]
        for start in range(0, len(wanted), HASHTAG_NOTES):
            part = wanted[start : start + HASHTAG_NOTES]
            texts = [{"title": note.title, "content": note.content} for note in part]
            try:
                answer = await self._client.post("/notes/hashtags", {"notes": texts, "category": False})
            except ServiceProblem as refusal:
                refusal.place([notes.index(note) for note in part])
                raise
            for note, suggested in zip(part, answer["notes"], strict=True):
                tags[note.id] = [tag["hashtag"] for tag in suggested["hashtags"]]
        return [note.model_copy(update={"hashtags": tuple(tags.get(note.id) or note.hashtags)}) for note in notes]

    async def _stored_hashtags(self, note: Note) -> list[str]:
        """Returns the hashtags that an earlier run stored for the same text. Suggesting them again is slow and would change nothing."""
        stored = await self._client.find_note(note.id)
        if stored is None or (stored["title"], stored["content"]) != (note.title, note.content):
            return []
        return list(stored["hashtags"])
