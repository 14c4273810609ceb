"""`Acknowledged`: what a client may expect of a service that is killed, stopped or cut off: every acknowledged write is stored."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from notellm import Checkpoint, Note, NoteEncoder

Fields = dict[str, Any]


@dataclass
class Acknowledged:
    """The notes of one client, which sends one request after another.

    Attributes:
        possible: for each id, the states that a reader may find: one if the last request was acknowledged, else several. None
            stands for a note that does not exist.
        requests: number of acknowledged requests.
    """

    possible: dict[str, list[Fields | None]] = field(default_factory=dict)
    requests: int = 0

    def sends(self, states: Mapping[str, Fields | None]) -> None:
        """Call it before a request is sent: from now on, the note may have its old or its new state."""
        for note_id, state in states.items():
            self.possible[note_id] = [*self.possible.get(note_id, [None]), state]

    def confirmed(self, states: Mapping[str, Fields | None]) -> None:
        """Call it when the answer has arrived: the note must have its new state."""
        self.possible |= {note_id: [state] for note_id, state in states.items()}
        self.requests += 1

    @property
    def unsure(self) -> int:
        """Number of notes that a reader may find in more than one state."""
        return sum(len(states) > 1 for states in self.possible.values())

    def fits(self, note_id: str, stored: Fields | None) -> bool:
        """Whether a reader may find this state of a note."""
        return any(_same(stored, state) for state in self.possible.get(note_id, [None]))

    def settle(self, stored: Mapping[str, Fields]) -> None:
        """Checks the states that a reader finds while nobody writes. From now on, these are the only possible ones."""
        for note_id, states in self.possible.items():
            found = stored.get(note_id)
            assert self.fits(note_id, found), ("lost, changed or brought back", note_id, found, states)
            self.possible[note_id] = [state for state in states if _same(found, state)][-1:]

    def is_stored(self, note_id: str) -> bool:
        """Whether a note must exist, in whatever state."""
        return all(state is not None for state in self.possible.get(note_id, [None]))

    def is_gone(self, note_id: str) -> bool:
        """Whether a note must not exist."""
        return self.possible.get(note_id) == [None]


def _same(stored: Fields | None, sent: Fields | None) -> bool:
    if stored is None or sent is None:
        return stored is sent
    wanted = {"title": sent["title"], "content": sent.get("content", "").strip(), "version": sent.get("version")}
    return {name: stored.get(name) or None for name in wanted} == {name: value or None for name, value in wanted.items()}


def everything_stored(url: str, headers: Mapping[str, str] | None = None) -> dict[str, Fields]:
    """Returns all notes of a service with their vectors, by id. The API key needs the scope `admin`."""
    found: dict[str, Fields] = {}
    start: dict[str, str] = {}
    with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as client:
        while True:
            answer = client.get("/admin/notes", params={"limit": 256, **start})
            assert answer.status_code == 200, answer.text
            page = answer.json()
            for line in page["notes"]:
                found[line["note"]["id"]] = line["note"] | {"vector": np.frombuffer(base64.b64decode(line["vector"]), "<f4")}
            if "next" not in page:
                return found
            start = {"start": page["next"]}


def assert_right_vectors(checkpoint_path: Path, stored: Sequence[Fields]) -> None:
    """Asserts that every note has the vector of its text."""
    checkpoint = Checkpoint.open(checkpoint_path)
    prompt = checkpoint.prompt()
    texts = [
        Note.model_validate({"id": note["id"], "title": note["title"], "content": note.get("content", "")}) for note in stored
    ]
    encoder = NoteEncoder(checkpoint.load_model(), prompt.embedding_prefix)
    vectors = encoder.encode([prompt.embedding(ids) for ids in prompt.tokenize(texts)])
    np.testing.assert_allclose(np.array([note["vector"] for note in stored]), vectors, atol=1e-5)
