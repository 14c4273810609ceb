"""The service is killed at random moments with writes in flight; what it acknowledged is there afterwards, and every note is whole.

NOTELLM_TEST_KILLS=50 python -m pytest -m faults tests/faults/test_kills.py -s
"""

import os
import random
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from notellm import Checkpoint, Note, NoteEncoder
from tests.serving import RunningService, running_service, start_service

pytestmark = pytest.mark.faults
KILLS = int(os.environ.get("NOTELLM_TEST_KILLS", "10"))
WRITERS = 3
BATCH = 5
LEAST_REQUESTS = 6
Fields = dict[str, Any]


@dataclass
class Writer:
    """Writes, overwrites and deletes notes of its own, one request after another, and knows what may be stored.

    Attributes:
        possible: for each id the states that a reader may find: one where the last request was acknowledged, two where it was not;
            None means that there is no note.
        acknowledged: requests that were.
    """

    name: str
    rng: random.Random
    possible: dict[str, list[Fields | None]] = field(default_factory=dict)
    acknowledged: int = 0

    def write_until_it_dies(self, service: RunningService) -> None:
        with httpx.Client(base_url=service.url, timeout=60) as client:
            while True:
                try:
                    self._delete(client) if self.possible and self.rng.random() < 0.3 else self._embed(client)
                except httpx.TransportError:
                    return

    def _embed(self, client: httpx.Client) -> None:
        chosen = {f"{self.name}-{self.rng.randrange(400)}" for _ in range(BATCH)}
        batch = [
            {"id": note_id, "title": f"{note_id} {self.rng.random()}", "content": "sour " * self.rng.randrange(60)}
            for note_id in sorted(chosen)
        ]
        for note in batch:
            self.possible[note["id"]] = [*self.possible.get(note["id"], [None]), note]
        answer = client.post("/notes/embed", json={"notes": batch})
        assert answer.status_code == 200, answer.text
        for note in batch:
            self.possible[note["id"]] = [note]
        self.acknowledged += 1

    def _delete(self, client: httpx.Client) -> None:
        note_id = self.rng.choice(list(self.possible))
        self.possible[note_id] = [*self.possible[note_id], None]
        answer = client.delete(f"/notes/{note_id}")
        assert answer.status_code in {204, 404}, answer.text
        self.possible[note_id] = [None]
        self.acknowledged += 1


def write_and_kill(service: RunningService, writers: list[Writer], rng: random.Random) -> None:
    """After some acknowledged requests, and a moment that has nothing to do with any of them."""
    enough = sum(writer.acknowledged for writer in writers) + rng.randrange(LEAST_REQUESTS, 4 * LEAST_REQUESTS)
    deadline = time.monotonic() + 60
    threads = [threading.Thread(target=writer.write_until_it_dies, args=(service,)) for writer in writers]
    for thread in threads:
        thread.start()
    while sum(writer.acknowledged for writer in writers) < enough:
        assert time.monotonic() < deadline, "nothing is acknowledged"
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 0.05))
    assert service.stop(signal.SIGKILL) == -signal.SIGKILL
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def stored_notes(service: RunningService, ids: list[str]) -> dict[str, Fields | None]:
    found: dict[str, Fields | None] = {}
    with httpx.Client(base_url=service.url, timeout=60) as client:
        for note_id in ids:
            answer = client.get(f"/notes/{note_id}", params={"vector": True})
            assert answer.status_code in {200, 404}, answer.text
            found[note_id] = answer.json() if answer.status_code == 200 else None
    return found


def same(stored: Fields | None, sent: Fields | None) -> bool:
    if stored is None or sent is None:
        return stored is sent
    return bool(stored["title"] == sent["title"] and stored["content"] == sent["content"].strip())


def test_sigkill_at_random_moments_loses_nothing_that_was_acknowledged(tiny_path: Path, tmp_path: Path) -> None:
    rng = random.Random(4)
    writers = [Writer(f"w{number}", random.Random(number)) for number in range(WRITERS)]
    for _ in range(KILLS):
        write_and_kill(start_service(tiny_path, tmp_path), writers, rng)
    possible = {note_id: states for writer in writers for note_id, states in writer.possible.items()}
    with running_service(tiny_path, tmp_path) as service:
        stored = stored_notes(service, list(possible))
        kept = [note for note in stored.values() if note is not None]
        assert httpx.get(f"{service.url}/model").json()["notes"] == len(kept)
    for note_id, states in possible.items():
        assert any(same(stored[note_id], state) for state in states), (note_id, states, stored[note_id])
    checkpoint = Checkpoint.open(tiny_path)
    prompt = checkpoint.prompt()
    texts = [Note.model_validate({"id": note["id"], "title": note["title"], "content": note["content"]}) for note in kept]
    vectors = NoteEncoder(checkpoint.load_model(), prompt.embedding_prefix).encode(
        [prompt.embedding(ids) for ids in prompt.tokenize(texts)]
    )
    np.testing.assert_allclose(np.array([note["vector"] for note in kept]), vectors, atol=1e-5)
    acknowledged = sum(writer.acknowledged for writer in writers)
    unsure = sum(len(states) > 1 for states in possible.values())
    print(f"{KILLS} kills, {acknowledged} acknowledged requests, {len(kept)} notes stored, {unsure} in flight at the end")  # noqa: T201
    assert acknowledged >= LEAST_REQUESTS * KILLS
    assert len(kept) >= 20
