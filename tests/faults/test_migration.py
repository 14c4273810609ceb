"""The service is killed at random moments of a migration; nothing is lost, nothing comes back, and the same command goes on."""

import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import pytest

from notellm import Checkpoint, Note, NoteEncoder
from tests.serving import RunningService, free_port, running_service, start_service

pytestmark = pytest.mark.faults
KILLS = 4
NOTES = [
    {"id": f"n{number}", "title": f"note {number}", "content": "sour " * (number % 60), "version": 1} for number in range(1500)
]

REWRITTEN = [str(note["id"]) for note in NOTES[:300]]


def migrate(service: RunningService, *arguments: str) -> subprocess.Popen[str]:
    command = Path(sys.executable).with_name("notellm-serve")
    return subprocess.Popen(
        [command, "migrate", "--url", service.url, "--patience", "20", *arguments], stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finished(command: "subprocess.Popen[str]") -> str:
    output, _ = command.communicate(timeout=120)
    assert command.returncode == 0, output
    return output


def store(service: RunningService, notes: list[dict[str, object]]) -> None:
    for start in range(0, len(notes), 100):
        answer = httpx.post(f"{service.url}/notes/embed", json={"notes": notes[start : start + 100]}, timeout=60)
        assert answer.status_code == 200, answer.text


@dataclass
class Writer:
    """Rewrites notes, deletes them, and replays what was deleted.

    Attributes:
        possible: the versions that a reader may find of each note; None: there is none.
        sent: the highest version that was sent.
    """

    rng: random.Random
    possible: dict[str, list[int | None]] = field(default_factory=lambda: {note_id: [1] for note_id in REWRITTEN})
    sent: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REWRITTEN, 1))

    def write_until_it_dies(self, service: RunningService) -> None:
        with httpx.Client(base_url=service.url, timeout=60) as client:
            try:
                while True:
                    self._write(client, self.rng.choice(REWRITTEN))
            except httpx.TransportError:
                return

    def _write(self, client: httpx.Client, note_id: str) -> None:
        if self.rng.random() < 0.4:
            self.possible[note_id].append(None)
            assert client.delete(f"/notes/{note_id}").status_code in {204, 404}
            self.possible[note_id] = [None]
        else:
            self.sent[note_id] += 1
            self.possible[note_id].append(self.sent[note_id])
        answer = client.post("/notes/embed", json={"notes": [text(note_id, self.sent[note_id])]})
        assert answer.status_code == 200, answer.text
        if self.possible[note_id] != [None]:
            self.possible[note_id] = [self.sent[note_id]]


def text(note_id: str, version: int) -> dict[str, object]:
    return {"id": note_id, "title": f"{note_id} in version {version}", "version": version}


def test_a_migration_survives_kills(tiny_path: Path, next_path: Path, tmp_path: Path) -> None:
    rng = random.Random(7)
    writer = Writer(rng)
    with running_service(tiny_path, tmp_path) as service:
        store(service, NOTES)
        port = service.url.rpartition(":")[2]
    for _ in range(KILLS):
        service = start_service(tiny_path, tmp_path, NOTELLM_PORT=port)
        moving = migrate(service, "--to", str(next_path), "--no-switch", "--share", "0.5")
        writing = threading.Thread(target=writer.write_until_it_dies, args=(service,))
        writing.start()
        time.sleep(rng.uniform(0.2, 2.5))
        assert service.stop(signal.SIGKILL) == -signal.SIGKILL
        writing.join(60)
        assert not writing.is_alive()
        moving.kill()
        moving.communicate(timeout=60)
    with running_service(tiny_path, tmp_path, NOTELLM_PORT=port) as service:
        output = finished(migrate(service, "--to", str(next_path)))
        assert "answers. --roll-back returns to" in output
        finished(migrate(service, "--finish"))
        check_notes(service, next_path, writer.possible)
    with running_service(next_path, tmp_path) as service:
        check_notes(service, next_path, writer.possible)


def check_notes(service: RunningService, path: Path, states: dict[str, list[int | None]]) -> None:
    """Every note is there in an acknowledged state, or in that of the request that died, with the new model's vector of its text."""
    kept = []
    with httpx.Client(base_url=service.url, timeout=60) as client:
        for note in NOTES:
            answer = client.get(f"/notes/{note['id']}", params={"vector": True})
            found = answer.json() if answer.status_code == 200 else None
            possible = states.get(str(note["id"]), [1])
            assert (found["version"] if found else None) in possible, (note["id"], possible, found)
            if found:
                kept.append(found)
        assert client.get("/model").json()["notes"] == len(kept)
    checkpoint = Checkpoint.open(path)
    prompt = checkpoint.prompt()
    texts = [Note(id=note["id"], title=note["title"], content=note["content"]) for note in kept]
    encoder = NoteEncoder(checkpoint.load_model(), prompt.embedding_prefix)
    expected = encoder.encode([prompt.embedding(note) for note in prompt.tokenize(texts)])
    np.testing.assert_allclose(np.array([note["vector"] for note in kept]), expected, atol=1e-5)


def test_commands_say_what_is_wrong(tiny_path: Path, next_path: Path, tmp_path: Path) -> None:
    with running_service(tiny_path, tmp_path) as service:
        store(service, NOTES[:100])
        for arguments, says in (
            ((), "say one of --to CHECKPOINT, --status, --roll-back, --finish and --cancel"),
            (("--to", str(next_path), "--cancel"), "say one of"),
            (("--finish",), "there is no migration"),
            (("--to", str(tmp_path)), "this is not a NoteLLM checkpoint"),
            (("--to", str(next_path), "--min-overlap", "1"), "not switched: less than --min-overlap 1"),
        ):
            command = migrate(service, *arguments)
            output, _ = command.communicate(timeout=120)
            assert command.returncode == 1, output
            assert says in output
            assert "Traceback" not in output
        assert "every note has a vector of next-" in finished(migrate(service, "--status"))
        finished(migrate(service, "--to", str(next_path)))
        assert "; tiny-" in finished(migrate(service, "--roll-back"))
        assert "there is no migration" in finished(migrate(service, "--cancel"))
    nobody = RunningService(f"http://127.0.0.1:{free_port()}", service.process, service.log)
    command = migrate(nobody, "--status")
    output, _ = command.communicate(timeout=60)
    assert command.returncode == 1
    assert "no service runs at" in output
