"""Traffic against a small HTTP server: what is asked, and that a refusal ends the measurement instead of waiting for ever."""

import itertools
import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import httpx
import pytest

from benchmarks.mixed import CLIENTS, EMBED, GENERATE, NOTES_A_REQUEST, System, _request, _traffic
from benchmarks.suggesters import note_supply
from harness.service import RunningService
from notellm.messages import EmbedRequest, HashtagsRequest


class Handler(BaseHTTPRequestHandler):
    """Answers everything with one status."""

    status: ClassVar[int] = 200
    asked: ClassVar[list[tuple[str, int]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, len(body["notes"])))
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def system() -> Iterator[System]:
    Handler.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with subprocess.Popen(["true"]) as process:
        yield System("small", RunningService(f"http://127.0.0.1:{server.server_port}", process, Path("log")), ())
    server.shutdown()
    thread.join()
    server.server_close()


async def test_both_works_are_asked_for_and_counted(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handler, "status", 200)
    rates = await _traffic(system, (EMBED, GENERATE), 0, note_supply())
    assert all(rate > 0 for rate in rates.values())
    assert set(Handler.asked) == {("/notes/embed", NOTES_A_REQUEST[EMBED]), ("/notes/hashtags", NOTES_A_REQUEST[GENERATE])}
    assert len(Handler.asked) >= sum(CLIENTS.values())


async def test_a_refusal_ends_the_measurement(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handler, "status", 503)
    with pytest.raises(ExceptionGroup) as refused:
        await _traffic(system, (EMBED, GENERATE), 0, note_supply())
    assert refused.group_contains(httpx.HTTPStatusError)


def test_what_is_asked_fits_the_service() -> None:
    notes = list(itertools.islice(note_supply(), 300))
    embed, hashtags = (_request(work, notes)[1] for work in (EMBED, GENERATE))
    assert not EmbedRequest.model_validate(embed | {"notes": embed["notes"][:200]}).store
    assert HashtagsRequest.model_validate(hashtags | {"notes": hashtags["notes"][:1]}).count == 3
