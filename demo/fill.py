"""Stores the sample notes with their vectors in a running service. The container `fill` of the compose files runs it.

    python -m demo.fill CHECKPOINT URL

CHECKPOINT is the one that the service serves. Notes that are already stored stay as they are. An API key with the scope `admin` is
read from NOTELLM_API_KEY.
"""

import asyncio
import os
import sys
from collections import Counter

import httpx

from demo.checkpoint import NOTES
from demo.vectors import BATCH, read_vectors
from notellm import Checkpoint
from notellm.checkpoint import vector_name_of
from notellm.errors import NoteLLMError
from service.bulk.client import REQUEST_SECONDS, ServiceClient
from service.bulk.commands import PATIENCE_SECONDS
from service.bulk.restore import RestoreJob
from service.errors import CommandError
from service.index import IndexedNote
from service.notes import ArchivedNote, archived
from service.settings import CLIENT_KEY
from training.data import read_notes
from training.errors import TrainingError


async def fill(checkpoint: Checkpoint, client: ServiceClient) -> Counter[str]:
    """Stores the sample notes and returns the number of notes by status.

    Raises:
        TrainingError: the sample's vectors belong to another checkpoint.
        CommandError: the service refuses the notes or does not answer.
    """
    notes = list(read_notes(NOTES))
    stored = zip(notes, read_vectors(checkpoint, notes), strict=True)
    items = [ArchivedNote.model_validate(archived(IndexedNote(note.payload(), vector))) for note, vector in stored]
    job = RestoreJob(client, vector_name_of(checkpoint))
    statuses: Counter[str] = Counter()
    for start in range(0, len(items), BATCH):
        statuses.update(await job.send(items[start : start + BATCH]))
    return statuses


async def _fill(checkpoint: Checkpoint, url: str) -> Counter[str]:
    key = os.environ.get(CLIENT_KEY)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=REQUEST_SECONDS, trust_env=False) as http:
        return await fill(checkpoint, ServiceClient(http, patience=PATIENCE_SECONDS))


def main(path: str, url: str) -> None:
    """Runs the command."""
    statuses = asyncio.run(_fill(Checkpoint.open(path, verify="size"), url))
    print(", ".join(f"{count:,} notes {status}" for status, count in sorted(statuses.items())))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (NoteLLMError, TrainingError, CommandError) as error:
        sys.exit(f"demo: {error}")
