"""The service is killed at random moments of a migration; nothing is lost, nothing comes back, and the same command goes on."""

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import pytest

from harness.service import RunningService, free_port, running_service, start_service
from notellm import Checkpoint, Note, NoteEncoder

pytestmark = [pytest.mark.faults, pytest.mark.slow("services are started again and again")]
KILLS = 4
NOTES = [
    {"id": f"n{number}", "title": f"note {number}", "content": "sour " * (number % 60), "version": 1} for number in range(1500)
]

FEW = 400
CHANGES = 5
CHANGE_SECONDS = 0.1

REWRITTEN = [str(note["id"]) for note in NOTES[:300]]


def migrate(service: RunningService, *arguments: str) -> subprocess.Popen[str]:
    command = Path(sys.executable).with_name("notellm-serve")
    return subprocess.Popen(
        [command, "migrate", "--url", service.url, "--patience", "300", *arguments], stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finished(command: "subprocess.Popen[str]") -> str:
    output, _ = command.communicate(timeout=600)
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
        if self.rng.random() < 0.4 and len(self.possible[note_id]) == 1:  # else it is not known which version is deleted
            right = 404 if self.possible[note_id] == [None] else 204
            self.possible[note_id].append(None)
            assert client.delete(f"/notes/{note_id}").status_code == right
            self.possible[note_id] = [None]
        else:
            self.sent[note_id] += 1
            self.possible[note_id].append(self.sent[note_id])
        answer = client.post("/notes/embed", json={"notes": [text(note_id, self.sent[note_id])]})
        if answer.status_code == 503:  # its model was dropped: it may be stored, or not
            return
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
        writing.join(300)
        assert not writing.is_alive()
        moving.kill()
        moving.communicate(timeout=600)
    with running_service(tiny_path, tmp_path, NOTELLM_PORT=port) as service:
        output = finished(migrate(service, "--to", str(next_path)))
        assert "answers. --roll-back returns to" in output
        finished(migrate(service, "--finish"))
        check_notes(service, next_path, writer.possible)
    with running_service(next_path, tmp_path) as service:
        check_notes(service, next_path, writer.possible)


def phase_of(service: RunningService) -> str:
    """Where the migration stands, when it is not on its way to there any more."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        state = httpx.get(f"{service.url}/admin/migration", timeout=60).json()
        if state["phase"] not in {"loading", "filling"}:
            return str(state["phase"])
        time.sleep(0.1)
    raise AssertionError(state)


@dataclass
class Moving:
    """A service that is started again and again, and killed in the middle of a change of its migration.

    Attributes:
        possible: phases in which the next start may be.
        kills: the changes that were asked for, and whether the answers had arrived.
    """

    place: Path
    port: str
    writer: Writer
    rng: random.Random
    possible: tuple[str, ...] = ("filled",)
    kills: list[tuple[str, bool]] = field(default_factory=list)
    started: list[RunningService] = field(default_factory=list)

    def start(self, checkpoint: Path) -> tuple[RunningService, str]:
        """The service, and its phase."""
        service = start_service(checkpoint, self.place, NOTELLM_PORT=self.port)
        self.started.append(service)
        phase = phase_of(service)
        assert phase in self.possible, ("what was acknowledged is undone", phase, self.kills)
        return service, phase

    def kill_while(self, service: RunningService, phase: str, change: str, after: str) -> None:
        """Asks for a change that leads to another phase, while notes are written, and kills the service at some moment of it."""
        answers: list[int] = []

        def ask() -> None:
            with suppress(httpx.TransportError):
                answers.append(httpx.post(f"{service.url}/admin/migration/{change}", json={}, timeout=60).status_code)

        writing = threading.Thread(target=self.writer.write_until_it_dies, args=(service,))
        asking = threading.Thread(target=ask)
        writing.start()
        time.sleep(self.rng.uniform(0, 0.3))
        before = self._noted()
        asking.start()
        deadline = time.monotonic() + 30
        # Every other time at any moment, and else soon after it is noted down: that is when half of it is done.
        while len(self.kills) % 2 and self._noted() == before and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(self.rng.uniform(0, CHANGE_SECONDS))
        assert service.stop(signal.SIGKILL) == -signal.SIGKILL
        for thread in (writing, asking):
            thread.join(300)
            assert not thread.is_alive()
        assert answers in ([], [200])
        self.kills.append((change, bool(answers)))
        self.possible = (after,) if answers else (phase, after)

    def _noted(self) -> str:
        return (self.place / "index" / "index.json").read_text()


@pytest.fixture
def moving(tmp_path: Path) -> Iterator[Moving]:
    rng = random.Random(11)
    made = Moving(tmp_path, str(free_port()), Writer(rng), rng)
    yield made
    for service in made.started:
        service.process.kill()
        service.process.wait(300)


def test_changes_of_a_migration_survive_kills(tiny_path: Path, next_path: Path, moving: Moving) -> None:
    notes = NOTES[:FEW]
    with running_service(tiny_path, moving.place, NOTELLM_PORT=moving.port) as service:
        store(service, notes)
        finished(migrate(service, "--to", str(next_path), "--no-switch", "--share", "1"))
    for _ in range(CHANGES):
        service, phase = moving.start(tiny_path)
        moving.kill_while(service, phase, *(("switch", "switched") if phase == "filled" else ("rollback", "filled")))
    service, phase = moving.start(tiny_path)
    while phase != "none":
        if phase == "switched":
            finished(migrate(service, "--roll-back"))
        moving.kill_while(service, "filled", "cancel", "none")
        service, phase = moving.start(tiny_path)
    check_notes(service, tiny_path, moving.writer.possible, notes)
    finished(migrate(service, "--to", str(next_path), "--share", "1"))
    while phase != "none" or moving.kills[-1][0] != "finish":
        moving.kill_while(service, "switched", "finish", "none")
        service, phase = moving.start(next_path)
    check_notes(service, next_path, moving.writer.possible, notes)
    assert {change for change, _ in moving.kills} == {"switch", "rollback", "cancel", "finish"}
    print(moving.kills)  # noqa: T201 - which of them had been acknowledged


def check_notes(
    service: RunningService, path: Path, states: dict[str, list[int | None]], notes: list[dict[str, object]] = NOTES
) -> None:
    """Every note is there in an acknowledged state, or in that of the request that died, with the new model's vector of its text."""
    kept = []
    with httpx.Client(base_url=service.url, timeout=60) as client:
        for note in notes:
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
            ((), "give exactly one of --to CHECKPOINT, --status, --roll-back, --finish and --cancel"),
            (("--to", str(next_path), "--cancel"), "give exactly one of"),
            (("--finish",), "there is no migration"),
            (("--to", str(tmp_path)), "this is not a NoteLLM checkpoint"),
            (("--to", str(next_path), "--min-overlap", "1"), "not switched: less than --min-overlap 1"),
        ):
            command = migrate(service, *arguments)
            output, _ = command.communicate(timeout=600)
            assert command.returncode == 1, output
            assert says in output
            assert "Traceback" not in output
        assert "every note has a vector of next-" in finished(migrate(service, "--status"))
        finished(migrate(service, "--to", str(next_path)))
        assert "; tiny-" in finished(migrate(service, "--roll-back"))
        assert "there is no migration" in finished(migrate(service, "--cancel"))
    nobody = RunningService(f"http://127.0.0.1:{free_port()}", service.process, service.log)
    command = migrate(nobody, "--status")
    output, _ = command.communicate(timeout=600)
    assert command.returncode == 1
    assert "no service runs at" in output
