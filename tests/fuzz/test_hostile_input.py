"""Thousands of requests, most of them hostile: no 5xx, no hang, nothing left behind. Counts are printed.

    NOTELLM_TEST_FUZZ_REQUESTS=20000 NOTELLM_TEST_FUZZ_REPORT=fuzz.json python -m pytest tests/fuzz/test_hostile_input.py -s

Without the variables it is 2,000, and no report. Described requests are schemathesis' own, those that keep to the OpenAPI
description and those that break it; their answers are checked against the description, too.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, seed, settings, strategies as st
from schemathesis.specs.openapi.checks import positive_data_acceptance

from benchmarks.machine import machine
from service.settings import Settings
from tests.fuzz.hostile import ANCHOR, IDS, Sent, admin, by_id, odd_headers, odd_targets, raw_bytes, well_formed
from tests.fuzz.in_process import Held, InProcess, in_process
from tests.service.http.test_openapi import allow_time

REQUESTS = int(os.environ.get("NOTELLM_TEST_FUZZ_REQUESTS", "2000"))
REPORT = os.environ.get("NOTELLM_TEST_FUZZ_REPORT")
ROUND = 250
LEAST_GOOD = 0.3
# Hypothesis and schemathesis remember in this process, too.
GROWTH_MIB = 64
GROWTH_MAPPED_MIB = 256
SERVED = ("/notes", "/v1")


@dataclass
class Tally:
    """What was sent, what came back, and what should be stored because of it."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    good: int = 0
    stored: set[str] = field(default_factory=set)
    held: list[Held] = field(default_factory=list)

    def add(self, sent: Sent, response: httpx.Response) -> None:
        """Counts; only notes and texts that were dealt with are good ones, no health check."""
        self.answers[sent.kind, response.status_code] += 1
        path = sent.target.partition("?")[0]
        if response.status_code < 300 and path == "/admin/notes/deleted":
            self.stored -= {note["id"] for note in response.json()["notes"] if note["status"] == "deleted"}
        if response.status_code >= 300 or not sent.target.startswith(SERVED):
            return
        self.good += 1
        if sent.method == "DELETE":
            self.stored.discard(path.removeprefix("/notes/"))
        elif path == "/notes/embed":
            # A stale one may be a replay of a note that was deleted since; then it is not there.
            self.stored |= {note["id"] for note in response.json()["notes"] if note["status"] in {"stored", "unchanged"}}

    def figures(self) -> dict[str, Any]:
        """Answers by kind and status, and what the process held after each round."""
        kinds = sorted({kind for kind, _ in self.answers})
        return {
            "requests": self.answers.total(),
            "2xx for notes and texts": self.good,
            "answers": {
                kind: {str(status): count for (of, status), count in sorted(self.answers.items()) if of == kind}
                for kind in kinds
            },
            "anonymous MiB": [round(held.anonymous_mib) for held in self.held],
            "mapped MiB": [round(held.mapped_mib) for held in self.held],
            "file descriptors": [held.file_descriptors for held in self.held],
            "tasks": [held.tasks for held in self.held],
        }

    def __str__(self) -> str:
        statuses = sorted({status for _, status in self.answers})
        lines = ["| kind | " + " | ".join(map(str, statuses)) + " |", "|---|" + "---|" * len(statuses)]
        lines += [
            f"| {kind} | " + " | ".join(f"{self.answers[kind, status]:,}" for status in statuses) + " |"
            for kind in sorted({kind for kind, _ in self.answers})
        ]
        share = self.good / self.answers.total()
        now_and_then = [*self.held[:: max(len(self.held) // 10, 1)], self.held[-1]]
        memory = ", ".join(f"{held.anonymous_mib:.0f} + {held.mapped_mib:.0f}" for held in now_and_then)
        last = self.held[-1]
        return "\n".join([
            *lines, f"{self.answers.total():,} requests; 2xx for notes and texts: {self.good:,} ({share:.0%})",
            f"anonymous + mapped MiB, now and then: {memory}; file descriptors {last.file_descriptors}, tasks {last.tasks}",
        ])  # fmt: skip


def described(schema: Any, mode: schemathesis.GenerationMode) -> st.SearchStrategy[Any]:
    """Schemathesis' requests for the calls that deal with notes, texts and the index: by the description, or against it."""
    operations = [result.ok() for result in schema.get_all_operations()]
    return st.one_of(*[one.as_strategy(generation_mode=mode) for one in operations if one.path.startswith((*SERVED, "/admin"))])


@st.composite
def mixed(draw: st.DrawFn, schema: Any) -> Any:
    """A case of any kind, by its share of twenty-two."""
    shares = [
        (7, well_formed), (1, by_id), (4, raw_bytes), (2, odd_headers), (1, odd_targets), (2, admin),
        (3, described(schema, schemathesis.GenerationMode.POSITIVE)), (2, described(schema, schemathesis.GenerationMode.NEGATIVE)),
    ]  # fmt: skip
    kind = draw(st.sampled_from([number for number, (share, _) in enumerate(shares) for _ in range(share)]))
    return draw(shares[kind][1])


def sent_of(case: Any) -> Sent:
    """A request of schemathesis as bytes."""
    allow_time(case)
    prepared = requests.Request(**case.as_transport_kwargs(base_url="http://test")).prepare()
    body = prepared.body or b""
    assert isinstance(body, str | bytes)
    content = body.encode() if isinstance(body, str) else body
    headers = [(name.lower().encode("latin-1"), str(value).encode("latin-1")) for name, value in prepared.headers.items()]
    kind = "described" if case.meta.generation.mode is schemathesis.GenerationMode.POSITIVE else "against the description"
    return Sent(kind, str(prepared.method), str(prepared.url).removeprefix("http://test"), content, headers)


@pytest.fixture
def service(settings_for: Callable[..., Settings]) -> Iterator[InProcess]:
    with in_process(settings_for(threads=1)) as running:
        yield running


def check(service: InProcess, tally: Tally, sent: Sent) -> httpx.Response:
    response = service.ask(sent)
    tally.add(sent, response)
    assert response.status_code < 500, response.text
    assert response.status_code < 300 or not sent.good, response.text
    if response.status_code >= 400 and sent.method != "HEAD":
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["status"] == response.status_code
        assert len(response.content) < 20_000
    return response


def fuzz(service: InProcess, tally: Tally, cases: st.SearchStrategy[Any], number: int) -> None:
    """One round, a run of Hypothesis of its own: it remembers all that it has tried."""

    @seed(number)
    @settings(max_examples=ROUND, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=cases)
    def run(case: Any) -> None:
        if isinstance(case, Sent):
            check(service, tally, case)
            return
        sent = sent_of(case)
        response = check(service, tally, sent)
        response.request = httpx.Request(sent.method, f"http://test{sent.target}")
        case.validate_response(response, excluded_checks=[positive_data_acceptance])

    run()


def forget_strays(service: InProcess, tally: Tally) -> None:
    """Deletes what schemathesis has stored under ids of its own."""
    for note_id in sorted(tally.stored - {ANCHOR, *IDS}):
        assert service.ask(Sent("", "DELETE", f"/notes/{note_id}")).status_code == 204
        tally.stored.discard(note_id)


@pytest.mark.slow("2,000 requests")
def test_hostile_requests_do_no_harm(service: InProcess, capsys: pytest.CaptureFixture[str]) -> None:
    schema = schemathesis.openapi.from_dict(service.get("/openapi.json"))
    cases = mixed(schema)
    anchor = json.dumps({"notes": [{"id": ANCHOR, "title": "cold brew"}]}).encode()
    tally = Tally()
    check(
        service, tally, Sent("well formed", "POST", "/notes/embed", anchor, [(b"content-type", b"application/json")], good=True)
    )
    before = service.get(f"/notes/{ANCHOR}?vector=true")
    ran_on, number = machine(), 0
    while tally.answers.total() < REQUESTS:
        fuzz(service, tally, cases, number)
        assert service.get("/model")["notes"] == len(tally.stored)
        forget_strays(service, tally)
        tally.held.append(service.held())
        number += 1
    with capsys.disabled():
        print(f"\n{tally}\nslowest answer {service.slowest:.2f} s")  # noqa: T201 - the figures are for docs/results/reliability.md

    if REPORT:
        found = {"machine": ran_on, **tally.figures(), "slowest answer seconds": round(service.slowest, 2)}
        Path(REPORT).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    assert service.get(f"/notes/{ANCHOR}?vector=true") == before
    assert service.get("/health/ready") == service.get("/health/live") == {"status": "ok"}
    assert set(re.findall(r"notellm_queue_tokens\{.*\} (.*)", service.get("/metrics"))) == {"0.0"}
    assert tally.good >= LEAST_GOOD * tally.answers.total()
    warm, end = tally.held[min(len(tally.held) // 4, 4)], tally.held[-1]
    assert end.anonymous_mib - warm.anonymous_mib <= GROWTH_MIB
    assert end.mapped_mib - warm.mapped_mib <= GROWTH_MAPPED_MIB
    assert end.file_descriptors <= warm.file_descriptors
    assert end.tasks <= warm.tasks
