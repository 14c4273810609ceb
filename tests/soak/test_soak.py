"""Mixed traffic for as long as one likes, with every fault that a service meets; nothing that was acknowledged is lost, nothing grows.

    NOTELLM_TEST_SOAK_SECONDS=1800 NOTELLM_TEST_SOAK_REPORT=soak.json python -m pytest -m faults tests/soak -s

Without the variables it is 45 seconds, and no report. Two real `notellm-serve` processes on the tiny model: one with the embedded index,
which is killed, stopped, filled up and misused; one with a Qdrant server's stand-in behind a network that refuses and hangs.
"""

import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from benchmarks.machine import machine
from tests.acknowledged import Fields, assert_right_vectors, everything_stored
from tests.faults.disk import mounted
from tests.requirements import REQUIRE_ALL, is_here
from tests.soak.clients import Client, NoteClient, ReadingClient
from tests.soak.director import RESERVE_MIB, Director, embedded_faults, network_faults
from tests.soak.figures import Figures, figures
from tests.soak.misbehaviour import CLIENTS, HANG_UP_IDS, left_note
from tests.soak.monitor import Monitor
from tests.soak.observations import Observations
from tests.soak.schedule import network_schedule, schedule
from tests.soak.site import OPERATOR, Keys, Site
from tests.soak.stand_in import stand_in_process

pytestmark = [pytest.mark.faults, pytest.mark.slow("a service under load and faults for 45 seconds")]
SECONDS = float(os.environ.get("NOTELLM_TEST_SOAK_SECONDS", "45"))
REPORT = os.environ.get("NOTELLM_TEST_SOAK_REPORT")
EVERY = max(0.5, SECONDS / 900)
NOTE_CLIENTS = ("ann", "bob", "cho")
READERS = ("dee", "eve")
# What a process may have more at its end than after its warm-up, and the last one more than the first: of medians. In two minutes it is
# not warm yet: threads that are there when they are needed, and what the allocator keeps for each of them.
GROWTH_MIB, YOUNG_GROWTH_MIB, GROWTH_DESCRIPTORS = 24.0, 96.0, 8
YOUNG_SECONDS = 240
ANSWERED = {"embed", "get", "similar", "delete", "hashtags", "cold start", "openai"}


@contextmanager
def embedded_site(checkpoint: Path, folder: Path, seen: Observations) -> Iterator[tuple[Site, bool]]:
    """On a disk of its own, where one can be mounted: whether it is."""
    data, own_disk = folder / "data", is_here("mount") or bool(os.environ.get(REQUIRE_ALL))
    data.mkdir()
    keys = Keys(folder / "keys.toml", [*NOTE_CLIENTS, *READERS, *CLIENTS])
    settings = {"NOTELLM_MIN_FREE_DISK_MIB": str(RESERVE_MIB), "NOTELLM_MAX_QUEUE_TOKENS": "16384", "NOTELLM_THREADS": "1"}
    with ExitStack() as stack:
        if own_disk:
            stack.enter_context(mounted(data, "size=512m"))
        yield Site("embedded", checkpoint, data, seen, keys, settings), own_disk


@contextmanager
def busy(clients: Sequence[Client], monitors: Sequence[Monitor]) -> Iterator[None]:
    """While they ask and look."""
    threads: list[Client | Monitor] = [*clients, *monitors]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.stop()


def kill(site: Site) -> None:
    site.service.process.kill()


def assert_idle(site: Site) -> None:
    assert site.metric("notellm_queue_tokens") == 0
    assert site.metric("notellm_http_requests_in_flight") == 1  # the one that asks
    assert site.get("/health/live").status_code == site.get("/health/ready").status_code == 200


def check_notes(site: Site, clients: Sequence[NoteClient]) -> Figures:
    """Reads everything that is stored and compares it with what was acknowledged."""
    stored = everything_stored(site.url, site.headers(OPERATOR))
    assert site.get("/model").json()["notes"] == len(stored)
    ledgers = [client.ledger for client in clients]
    lost = [
        (note_id, stored.get(note_id), ledger.possible[note_id])
        for ledger in ledgers
        for note_id in ledger.possible
        if not ledger.fits(note_id, stored.get(note_id))
    ]
    assert not lost, lost[:5]
    known = {note_id for ledger in ledgers for note_id in ledger.possible}
    assert_left_by_hang_ups({note_id: note for note_id, note in stored.items() if note_id not in known})
    assert_right_vectors(site.checkpoint, list(stored.values()))
    return {
        "acknowledged writes": sum(ledger.requests for ledger in ledgers),
        "notes that must be there": sum(ledger.is_stored(note_id) for ledger in ledgers for note_id in ledger.possible),
        "notes that must be gone": sum(ledger.is_gone(note_id) for ledger in ledgers for note_id in ledger.possible),
        "notes in flight at the last end": sum(len(states) > 1 for ledger in ledgers for states in ledger.possible.values()),
        "notes stored": len(stored),
        "lost": len(lost),
    }


def assert_left_by_hang_ups(stored: dict[str, Fields]) -> None:
    possible = {note["id"]: note for note in map(left_note, range(HANG_UP_IDS))}
    for note_id, note in stored.items():
        assert (note["title"], note["content"]) == (possible[note_id]["title"], possible[note_id]["content"].strip())


def assert_grows_by(most: float, medians: Sequence[float], where: object) -> None:
    assert medians[1] - medians[0] <= most, where


def assert_flat(found: Figures) -> None:
    for name, service in found["services"].items():
        lives = service["lives"]
        assert lives, f"{name}: no life was long enough to tell"
        for life in lives:
            memory = GROWTH_MIB if life["seconds"] > YOUNG_SECONDS else YOUNG_GROWTH_MIB
            assert_grows_by(memory, life["anonymous MiB"], life)
            assert_grows_by(GROWTH_DESCRIPTORS, life["descriptors"], life)
        for measure, most in (("anonymous MiB", GROWTH_MIB), ("descriptors", GROWTH_DESCRIPTORS)):
            assert_grows_by(most, [lives[0][measure][1], lives[-1][measure][1]], lives)


def report(found: Figures) -> None:
    summary = {name: value for name, value in found.items() if name != "series"}
    print(json.dumps(summary, indent=1))  # noqa: T201 - the figures are for docs/results/reliability.md
    if REPORT:
        Path(REPORT).write_text(json.dumps({"machine": machine(), **found}, separators=(",", ":")) + "\n", encoding="utf-8")


def test_soak(tiny_path: Path, tmp_path: Path) -> None:
    seen = Observations()
    with ExitStack() as stack:
        embedded, own_disk = stack.enter_context(embedded_site(tiny_path, tmp_path, seen))
        network = stack.enter_context(stand_in_process())
        server = Site(
            "Qdrant", tiny_path, tmp_path / "qdrant", seen,
            environment={"NOTELLM_QDRANT_URL": "http://127.0.0.1", "NOTELLM_QDRANT_GRPC_PORT": str(network.port),
                         "NOTELLM_QDRANT_TIMEOUT_SECONDS": "5", "NOTELLM_THREADS": "1"},
        )  # fmt: skip
        for site in (embedded, server):
            site.start()
            stack.callback(kill, site)
        writers = [NoteClient(name, embedded, seen, 8) for name in NOTE_CLIENTS[:-1]]
        writers.append(NoteClient(NOTE_CLIENTS[-1], embedded, seen, 8, **{"X-Priority": "bulk"}))
        remote = [NoteClient("fay", server, seen, 3)]
        readers = [*(ReadingClient(name, embedded, seen, 3) for name in READERS), ReadingClient("gil", server, seen, 1)]
        seen.start()
        with busy([*writers, *remote, *readers], [Monitor(embedded, seen, EVERY), Monitor(server, seen, EVERY)]):
            other = Director(server, seen, network_faults(server, network), SECONDS)
            beside = threading.Thread(target=other.run, args=(network_schedule(SECONDS),))
            beside.start()
            Director(embedded, seen, embedded_faults(embedded, seen, disk=own_disk), SECONDS).run(schedule(SECONDS))
            beside.join()
        found = figures(seen, SECONDS)
        for site in (embedded, server):
            assert_idle(site)
        embedded.stop()
        embedded.start()
        notes = {"embedded": check_notes(embedded, writers), "Qdrant": check_notes(server, remote)}
        for name, checked in notes.items():
            found["services"][name] = checked | found["services"][name]
        report(found)
        for site in (embedded, server):
            site.stop()
            assert "Traceback" not in site.service.log.read_text(), site.service.log.read_text()[-3000:]
    assert not found["violations"], found["violations"]
    # How many were answered, and how soon, is for the report: `tests/test_reliability_page.py` looks at the one that is published.
    statuses = found["services"]["embedded"]["statuses by kind"]
    assert {kind for kind, counts in statuses.items() if {"200", "204"} & counts.keys()} >= ANSWERED
    assert statuses["burst"].get("429", 0) > 0
    assert_flat(found)
