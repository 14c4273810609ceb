"""Clients that write until the service under them is killed."""

import random
import signal
import threading
import time
from dataclasses import dataclass, field

import httpx

from harness.service import RunningService
from tests.acknowledged import Acknowledged, Fields

BATCH = 5
LEAST_REQUESTS = 6


@dataclass
class Writer:
    """Writes, overwrites and deletes notes of its own, and replays what was deleted, one request after another.

    Every other note has versions.

    Attributes:
        stored: the highest version of each note that was acknowledged.
        replays: requests that came too late and had to be without effect.
    """

    name: str
    rng: random.Random
    ledger: Acknowledged = field(default_factory=Acknowledged)
    stored: dict[str, int] = field(default_factory=dict)
    replays: int = 0
    _version: int = 0

    def write_until_it_dies(self, service: RunningService) -> None:
        """Writes until nobody answers any more."""
        with httpx.Client(base_url=service.url, timeout=60) as client:
            while True:
                try:
                    self._delete(client) if self.ledger.possible and self.rng.random() < 0.3 else self._embed(client)
                except httpx.TransportError:
                    return

    @property
    def forgotten(self) -> list[str]:
        """Notes that were stored in a version and are deleted: whatever was sent before must not bring them back."""
        return [note_id for note_id in self.stored if self.ledger.is_gone(note_id)]

    def replay(self, client: httpx.Client, note_id: str) -> None:
        """Sends a deleted note as it was acknowledged once."""
        note = {"id": note_id, "title": "a replay", "version": self.stored[note_id]}
        answer = client.post("/notes/embed", json={"notes": [note]})
        assert answer.status_code == 200, answer.text
        assert answer.json()["notes"][0]["status"] == "stale", (note, answer.text)
        self.replays += 1

    def _embed(self, client: httpx.Client) -> None:
        chosen = sorted({self.rng.randrange(400) for _ in range(BATCH)})
        notes = [self._note(number) for number in chosen]
        batch = {note["id"]: note for note in notes}
        self.ledger.sends(batch)
        answer = client.post("/notes/embed", json={"notes": notes})
        assert answer.status_code == 200, answer.text
        self.ledger.confirmed(batch)
        self.stored |= {note["id"]: note["version"] for note in notes if "version" in note}

    def _note(self, number: int) -> Fields:
        note_id = f"{self.name}-{number}"
        note = {"id": note_id, "title": f"{note_id} {self.rng.random()}", "content": "sour " * self.rng.randrange(60)}
        if number % 2:
            return note
        self._version += 1
        return note | {"version": self._version}

    def _delete(self, client: httpx.Client) -> None:
        note_id = self.rng.choice(list(self.ledger.possible))
        right = {404} if self.ledger.is_gone(note_id) else {204} if self.ledger.is_stored(note_id) else {204, 404}
        self.ledger.sends({note_id: None})
        answer = client.delete(f"/notes/{note_id}")
        assert answer.status_code in right, (note_id, right, answer.text)
        self.ledger.confirmed({note_id: None})
        if note_id in self.stored:
            self.replay(client, note_id)


def write_and_kill(service: RunningService, writers: list[Writer], rng: random.Random) -> None:
    """After some acknowledged requests, and a moment that has nothing to do with any of them."""
    enough = sum(writer.ledger.requests for writer in writers) + rng.randrange(LEAST_REQUESTS, 4 * LEAST_REQUESTS)
    deadline = time.monotonic() + 300
    threads = [threading.Thread(target=writer.write_until_it_dies, args=(service,)) for writer in writers]
    for thread in threads:
        thread.start()
    while sum(writer.ledger.requests for writer in writers) < enough:
        assert time.monotonic() < deadline, "nothing is acknowledged"
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 0.05))
    assert service.stop(signal.SIGKILL) == -signal.SIGKILL
    for thread in threads:
        thread.join(300)
        assert not thread.is_alive()
