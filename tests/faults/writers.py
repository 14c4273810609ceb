"""Clients that write until the service under them is killed."""

import random
import signal
import threading
import time
from dataclasses import dataclass, field

import httpx

from tests.acknowledged import Acknowledged
from tests.serving import RunningService

BATCH = 5
LEAST_REQUESTS = 6


@dataclass
class Writer:
    """Writes, overwrites and deletes notes of its own, one request after another."""

    name: str
    rng: random.Random
    ledger: Acknowledged = field(default_factory=Acknowledged)

    def write_until_it_dies(self, service: RunningService) -> None:
        with httpx.Client(base_url=service.url, timeout=60) as client:
            while True:
                try:
                    self._delete(client) if self.ledger.possible and self.rng.random() < 0.3 else self._embed(client)
                except httpx.TransportError:
                    return

    def _embed(self, client: httpx.Client) -> None:
        chosen = {f"{self.name}-{self.rng.randrange(400)}" for _ in range(BATCH)}
        batch = {
            note_id: {"id": note_id, "title": f"{note_id} {self.rng.random()}", "content": "sour " * self.rng.randrange(60)}
            for note_id in sorted(chosen)
        }
        self.ledger.sends(batch)
        answer = client.post("/notes/embed", json={"notes": list(batch.values())})
        assert answer.status_code == 200, answer.text
        self.ledger.confirmed(batch)

    def _delete(self, client: httpx.Client) -> None:
        note_id = self.rng.choice(list(self.ledger.possible))
        self.ledger.sends({note_id: None})
        answer = client.delete(f"/notes/{note_id}")
        assert answer.status_code in {204, 404}, answer.text
        self.ledger.confirmed({note_id: None})


def write_and_kill(service: RunningService, writers: list[Writer], rng: random.Random) -> None:
    """After some acknowledged requests, and a moment that has nothing to do with any of them."""
    enough = sum(writer.ledger.requests for writer in writers) + rng.randrange(LEAST_REQUESTS, 4 * LEAST_REQUESTS)
    deadline = time.monotonic() + 60
    threads = [threading.Thread(target=writer.write_until_it_dies, args=(service,)) for writer in writers]
    for thread in threads:
        thread.start()
    while sum(writer.ledger.requests for writer in writers) < enough:
        assert time.monotonic() < deadline, "nothing is acknowledged"
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 0.05))
    assert service.stop(signal.SIGKILL) == -signal.SIGKILL
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
