"""The clients of a soak: each a thread, which asks at its own rate and looks at every answer."""

import random
import threading
import traceback
from typing import Any

import httpx

from tests.acknowledged import Acknowledged, Fields
from tests.soak.observations import Observations
from tests.soak.site import Site

WORDS = [
    "sour",
    "cold",
    "brew",
    "grind",
    "finer",
    "qubit",
    "gate",
    "noisy",
    "hops",
    "beer",
    "咖啡",
    "旅行",
    "🍺",
    "#coldbrew",
    "steep",
]
IDS = 120
# Longer than any fault: what is late is told by the times, not by a client that gives up.
CLIENT_SECONDS = 60


class Client(threading.Thread):
    """Asks until it is stopped.

    Args:
        name: of its key.
        rate: requests a second, at most.
    """

    def __init__(self, name: str, site: Site, seen: Observations, rate: float) -> None:
        super().__init__(name=name, daemon=True)
        self.site, self.seen, self.rng = site, seen, random.Random(name)
        self._rate = rate
        self._over = threading.Event()
        # A server closes what is silent for five seconds, perhaps at the very moment at which it is used again.
        limits = httpx.Limits(keepalive_expiry=2)
        self._http = httpx.Client(base_url=site.url, timeout=CLIENT_SECONDS, trust_env=False, limits=limits)

    def run(self) -> None:
        """See `threading.Thread.run`."""
        with self._http:
            while not self._over.wait(min(self.rng.expovariate(self._rate), 2)):
                try:
                    self.turn()
                except Exception:  # a thread that ends would be missed only later
                    self.complain(traceback.format_exc(limit=3))

    def stop(self) -> None:
        """Waits for the last answer."""
        self._over.set()
        self.join(2 * CLIENT_SECONDS)
        assert not self.is_alive(), f"{self.name} still waits for an answer"

    def turn(self) -> None:
        """One request."""
        raise NotImplementedError

    def complain(self, text: str) -> None:
        """Notes down what should not be."""
        self.seen.violations.append(f"{self.site.name}: {self.name} at {self.seen.now():.1f} s: {text}")

    def ask(
        self, kind: str, method: str, path: str, *, good: tuple[int, ...] = (200,), **content: Any
    ) -> httpx.Response | None:
        """An answer with one of the good statuses, or None. What else may come is `Observations`' to judge."""
        begun, answer = self.seen.now(), None
        headers = self.site.headers(self.name) | content.pop("headers", {})
        try:
            answer = self._http.request(method, path, headers=headers, **content)
        except httpx.TransportError:
            self._over.wait(0.2)
        self.seen.answered(self.site.name, kind, begun, answer)
        if answer is None or answer.status_code in good:
            return answer
        if answer.status_code < 500 and answer.status_code not in {401, 403, 429}:
            self.complain(f"{kind}: {answer.status_code}: {answer.text[:300]}")
        return None

    def text(self) -> str:
        """Some words."""
        return " ".join(self.rng.choices(WORDS, k=self.rng.randrange(1, 40)))


class NoteClient(Client):
    """Writes, overwrites, deletes, reads and searches notes of its own, with versions, and knows what must be there."""

    def __init__(self, name: str, site: Site, seen: Observations, rate: float, **headers: str) -> None:
        super().__init__(name, site, seen, rate)
        self.ledger = Acknowledged()
        self._headers = headers
        self._version = 0

    def turn(self) -> None:
        """See `Client.turn`."""
        turns = {self._embed: 40, self._forget: 8, self._get: 25, self._similar: 22, self._late: 5}
        self.rng.choices(list(turns), weights=list(turns.values()))[0]()

    def _embed(self) -> None:
        self._version += 1
        chosen = {f"{self.name}-{self.rng.randrange(IDS)}" for _ in range(self.rng.randrange(1, 6))}
        batch = {note_id: self._note(note_id, self._version) for note_id in sorted(chosen)}
        self.ledger.sends(batch)
        body = {"notes": list(batch.values()), "vectors": False}
        if answer := self.ask("embed", "POST", "/notes/embed", json=body, headers=self._headers):
            self.ledger.confirmed(batch)
            if statuses := [note for note in answer.json()["notes"] if note["status"] != "stored"]:
                self.complain(f"new versions were not stored: {statuses}")

    def _note(self, note_id: str, version: int) -> Fields:
        return {"id": note_id, "title": f"{note_id} {self.rng.random()}", "content": self.text(), "version": version}

    def _late(self) -> None:
        """An older version of a stored note, which must change nothing."""
        if note_id := self._stored():
            note = self._note(note_id, 0)
            if answer := self.ask("embed", "POST", "/notes/embed", json={"notes": [note], "vectors": False}):
                [result] = answer.json()["notes"]
                if result["status"] != "stale":
                    self.complain(f"an old version was {result['status']}: {note_id}")

    def _forget(self) -> None:
        if not self.ledger.possible:
            return
        note_id = self.rng.choice(list(self.ledger.possible))
        stored, gone = self.ledger.is_stored(note_id), self.ledger.is_gone(note_id)
        self.ledger.sends({note_id: None})
        if answer := self.ask("delete", "DELETE", f"/notes/{note_id}", good=(204, 404)):
            self.ledger.confirmed({note_id: None})
            if (stored and answer.status_code == 404) or (gone and answer.status_code == 204):
                self.complain(f"{note_id} is {'lost' if stored else 'back'}: deleting it is a {answer.status_code}")

    def _get(self) -> None:
        note_id = self.rng.choice(list(self.ledger.possible) or [f"{self.name}-0"])
        if answer := self.ask("get", "GET", f"/notes/{note_id}", good=(200, 404)):
            found = answer.json() if answer.status_code == 200 else None
            if not self.ledger.fits(note_id, found):
                self.complain(f"{note_id} is {found}, and may be {self.ledger.possible.get(note_id)}")

    def _similar(self) -> None:
        if note_id := self._stored():
            answer = self.ask("similar", "GET", f"/notes/{note_id}/similar", params={"limit": 10})
            found = [neighbour["id"] for neighbour in answer.json()["neighbours"]] if answer else []
            if note_id in found or len(set(found)) < len(found) or any(map(self.ledger.is_gone, found)):
                self.complain(f"neighbours of {note_id} are {found}")

    def _stored(self) -> str | None:
        stored = [note_id for note_id in self.ledger.possible if self.ledger.is_stored(note_id)]
        return self.rng.choice(stored) if stored else None


class ReadingClient(Client):
    """Asks what stores nothing: hashtags, neighbours of an unsaved note, OpenAI's embeddings."""

    def turn(self) -> None:
        """See `Client.turn`."""
        note = {"title": f"t {self.rng.random()}", "content": self.text()}
        draw = self.rng.random()
        if draw < 0.3:
            self.ask("hashtags", "POST", "/notes/hashtags", json={"notes": [note], "count": 2})
        elif draw < 0.65:
            self.ask("cold start", "POST", "/notes/similar", json={"note": note, "limit": 5})
        else:
            self.ask("openai", "POST", "/v1/embeddings", json={"input": [note["content"], note["title"]]})
