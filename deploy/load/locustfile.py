"""Sends a platform's mix of calls at a fixed rate, even if earlier calls are not answered yet.

    make load URL=http://127.0.0.1:8000 RATE=20 SECONDS=60

Arrivals are a Poisson process (open loop), so a slow service gets as many requests as a fast one. The usual simulated users, who each wait
for their answer, would send fewer requests to a slow service and so hide its latency. Therefore one locust user sends everything, each
request in its own greenlet. The time of a request counts from the moment at which it was due, so it includes any wait before sending.

The texts are those of the demo. Ids begin with `load-`, and the stored notes are deleted at the end. A 429 counts as an answer, in its own
row ("… refused"). Any other status that is not a 2xx is a failure, and so is a wrong answer.
"""

import gzip
import itertools
import json
import logging
import os
import random
import sys
import time
import uuid
from argparse import ArgumentParser, ArgumentTypeError
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
from gevent.pool import Pool
from locust import FastHttpUser, events, task
from locust.contrib.fasthttp import FastHttpSession
from locust.env import Environment
from locust.event import EventHook

Json = dict[str, Any]
NOTES = Path(__file__).parents[2] / "demo" / "notes.jsonl.gz"
# Percentages: a feed is read more often than written.
MIX = {"new": 25, "again": 15, "one": 35, "several": 15, "hashtags": 5, "delete": 5}
HISTORY, NEIGHBOURS = 5, 20
LEAST_STORED = 2
AT_ONCE = 10
OK, NO_CONTENT, TOO_MANY = 200, 204, 429
# Longer than the service's own time limit, so that the service answers before the client gives up.
PATIENCE_SECONDS = 130
logger = logging.getLogger(__name__)


def note_count(text: str) -> int:
    """Parses the number of notes to store; it must be large enough for a note to have a neighbour."""
    count = int(text)
    if count < LEAST_STORED:
        raise ArgumentTypeError(f"must be at least {LEAST_STORED}, so that a note has a neighbour")
    return count


@events.init_command_line_parser.add_listener
def add_options(parser: ArgumentParser) -> None:
    """Adds options to those of locust."""
    parser.add_argument("--rate", type=float, default=10, help="arrivals per second")
    parser.add_argument("--stored", type=note_count, default=100, help="notes to store before the test, for searches to find")
    parser.add_argument("--seed", type=int, default=0, help="seed of the arrivals and their kinds")


@events.init.add_listener
def store_notes(environment: Environment, **_: object) -> None:
    """Stores notes before the test starts."""
    Platform.notes = Notes(environment.host)
    Platform.notes.store(environment.parsed_options.stored)


@events.quitting.add_listener
def delete_notes(**_: object) -> None:
    """Deletes the notes after the last answer."""
    Platform.notes.delete()


class Notes:
    """The notes of this run. Searches use those in `kept`; the test stored those in `passing` and may delete them."""

    def __init__(self, host: str) -> None:
        key = os.environ.get("NOTELLM_API_KEY")
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.kept: list[Json] = []
        self.passing: deque[str] = deque()
        with gzip.open(NOTES, "rt", encoding="utf-8") as lines:
            self._texts = itertools.cycle([json.loads(line) for line in lines])
        self._ids = map(f"load-{uuid.uuid4().hex[:8]}-{{}}".format, itertools.count())
        # Requests of this session are not counted.
        self._http = FastHttpSession(
            host, EventHook(), None, insecure=False, concurrency=AT_ONCE, network_timeout=PATIENCE_SECONDS,
            connection_timeout=PATIENCE_SECONDS,
        )  # fmt: skip

    def next(self) -> Json:
        """A note that is not stored yet."""
        return next(self._texts) | {"id": next(self._ids)}

    def store(self, count: int) -> None:
        """Stores the notes to keep. Ends the process if the service refuses them."""
        self.kept = [self.next() for _ in range(count)]
        for start in range(0, count, AT_ONCE):
            body = _embed(*self.kept[start : start + AT_ONCE])
            answer = self._http.request("POST", "/notes/embed", json=body, headers=dict(self.headers))
            if answer.status_code != OK:
                logger.error("notes cannot be stored: %s %s", answer.status_code, answer.text or answer.error)
                sys.exit(2)

    def delete(self) -> None:
        """Deletes all notes of this run."""
        left = sum(Pool(AT_ONCE).map(self._is_left, [*(note["id"] for note in self.kept), *self.passing]))
        if left:
            logger.warning("%d notes could not be deleted: their ids begin with load-", left)

    def _is_left(self, note_id: str) -> bool:
        answer = self._http.request("DELETE", f"/notes/{note_id}", headers=dict(self.headers))
        return bool(answer.status_code != NO_CONTENT)


class Platform(FastHttpUser):
    """The locust user that sends all requests."""

    fixed_count = 1
    concurrency = 10_000  # connections; an arrival must not wait for one
    insecure = False
    network_timeout = connection_timeout = PATIENCE_SECONDS
    notes: Notes

    def on_start(self) -> None:
        """Starts the clock of the arrivals."""
        options = self.environment.parsed_options
        self._rate = options.rate
        self._random = random.Random(options.seed)  # noqa: S311 -- a workload, not a secret
        self._sending = Pool()
        self._due = time.perf_counter()

    @task
    def arrive(self) -> None:
        """Waits for the next arrival and sends its request without waiting for the answer."""
        self._due += self._random.expovariate(self._rate)
        gevent.sleep(max(0.0, self._due - time.perf_counter()))
        kind = self._random.choices(list(MIX), list(MIX.values()))[0]
        self._sending.spawn(getattr(self, f"_{kind}"), self._due)

    def on_stop(self) -> None:
        """Waits for the outstanding answers."""
        self._sending.join()

    def _new(self, due: float) -> None:
        note = self.notes.next()
        if self._send(due, "embed new", "POST", "/notes/embed", _embed(note), _has_status("stored")):
            self.notes.passing.append(note["id"])

    def _again(self, due: float) -> None:
        body = _embed(self._random.choice(self.notes.kept))
        self._send(due, "embed again", "POST", "/notes/embed", body, _has_status("unchanged"))

    def _one(self, due: float) -> None:
        note_id = self._random.choice(self.notes.kept)["id"]
        self._send(due, "similar to one", "GET", f"/notes/{note_id}/similar?limit={NEIGHBOURS}", None, _has_neighbours)

    def _several(self, due: float) -> None:
        history = self._random.sample(self.notes.kept, min(HISTORY, len(self.notes.kept)))
        body = {"ids": [note["id"] for note in history], "limit": NEIGHBOURS}
        self._send(due, "similar to several", "POST", "/notes/similar", body)

    def _hashtags(self, due: float) -> None:
        note = self.notes.next()
        body = {"count": 3, "notes": [{"title": note["title"], "content": note["content"]}]}
        self._send(due, "hashtags", "POST", "/notes/hashtags", body)

    def _delete(self, due: float) -> None:
        """Deletes a note that no search uses. If there is none yet, it stores one instead."""
        if not self.notes.passing:
            self._new(due)
            return
        note_id = self.notes.passing.popleft()
        if not self._send(due, "delete", "DELETE", f"/notes/{note_id}"):
            self.notes.passing.append(note_id)

    def _send(
        self,
        due: float,
        name: str,
        method: str,
        path: str,
        body: Json | None = None,
        right: Callable[[Json], bool] | None = None,
    ) -> bool:
        """Sends a request that was due at the moment `due`, and returns whether the answer is right."""
        with self.client.request(
            method, path, name=name, json=body, headers=dict(self.notes.headers), catch_response=True
        ) as answer:
            status = answer.status_code
            answer.request_meta["response_time"] = (time.perf_counter() - due) * 1000
            if status == TOO_MANY:
                answer.request_meta["name"] = f"{name} refused"
                answer.success()
            elif status not in {OK, NO_CONTENT}:
                answer.failure(f"{status}: {_kind(answer)}")
            elif right and not right(answer.json()):
                answer.failure("a wrong answer")
            else:
                answer.success()
                return True
        return False


def _embed(*notes: Json) -> Json:
    return {"notes": notes, "vectors": False}


def _has_status(status: str) -> Callable[[Json], bool]:
    return lambda answer: bool(answer["notes"][0]["status"] == status)


def _has_neighbours(answer: Json) -> bool:
    return bool(answer["neighbours"])


def _kind(answer: Any) -> str:  # noqa: ANN401 -- locust does not export the class
    """The kind of an error without its detail, because locust counts failures with equal texts together."""
    try:
        return str(answer.json()["type"])
    except (TypeError, ValueError, KeyError):
        return str(answer.error or "not a problem document")
