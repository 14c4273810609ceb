"""How much time HTTP and the queue add to the bare encoder, and how much of its speed remains under overload.

    .venv/bin/python -m benchmarks.speed checkpoints/demo docs/results/speed --only http

The server and the load generator are separate processes. The encoder that they are compared with runs in this process, never at the same
time as they do. All of them share the same cores, so the report also gives the load generator's share.
"""

import http.client
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.http_report import figures, markdown
from benchmarks.load import OK, TOO_LATE, TOO_MANY, Outcome, percentile, poisson_arrivals, run_load
from benchmarks.measure import Content, alternate, seconds
from benchmarks.served import Served, embed_bodies, served
from demo.sample import sample_notes
from notellm import Checkpoint, Note, NoteEncoder
from service.engines import usable_cores

__all__ = ["TITLE", "figures", "markdown", "measure"]

TITLE = "Over HTTP"
SITES = 5
# Notes per request in requests of several notes, and the number of clients that send such requests.
SEVERAL, SEVERAL_CLIENTS, SINGLE_CLIENTS = 16, 4, 32
LOADS = (1, 4)


@dataclass(frozen=True)
class Amounts:
    """How much to measure.

    Attributes:
        notes: notes per round at saturation.
        rounds: number of rounds at saturation and at overload.
        singles: number of requests when idle.
        clients: numbers of clients whose latency is measured.
        client_seconds: minimum duration with these clients; each sends at least two requests more, and its first one does not count.
        overload_seconds: duration of a round at overload.
        deadline: deadline of requests at overload, in seconds.
    """

    notes: int = 96
    rounds: int = 3
    singles: int = 60
    clients: tuple[int, ...] = (1, 8, 32, 128)
    client_seconds: float = 12
    overload_seconds: float = 25
    deadline: float = 5


QUICK = Amounts(notes=10, rounds=1, singles=3, clients=(1, 8), client_seconds=1, overload_seconds=6, deadline=3)


class _Bench:
    def __init__(self, checkpoint: Checkpoint, server: Served, amounts: Amounts) -> None:
        torch.set_num_threads(usable_cores())  # as the service does
        self.amounts = amounts
        self.server = server
        self.notes: Sequence[Note] = sample_notes(-(-amounts.notes // SITES))[: amounts.notes]
        prompt = checkpoint.prompt()
        self.prompts = [prompt.embedding(note) for note in prompt.tokenize(self.notes)]
        self.encoder = NoteEncoder(checkpoint.load_model(), prompt.embedding_prefix)
        self.singles, self.several = embed_bodies(self.notes, 1), embed_bodies(self.notes, SEVERAL)

    def warm_up(self) -> None:
        self.encoder.encode(self.prompts[:8])
        run_load(self.server.plan(self.singles, clients=4, requests=8))

    def idle(self) -> Content:
        """Embeds one note at a time, over HTTP and with the encoder in turn."""
        host, port = self.server.address
        connection = http.client.HTTPConnection(host, port)
        over_http, bare = [], []
        before, cpu = self.server.metrics(), self.server.cpu()
        for number in range(self.amounts.singles):
            index = number % len(self.prompts)
            over_http.append(seconds(partial(_post, connection, self.singles[index])))
            bare.append(seconds(partial(self.encoder.encode, [self.prompts[index]])))
        loop = self.server.cpu().since(cpu).loop / self.amounts.singles
        connection.close()
        return {
            "http": over_http, "bare": bare, "loop_cpu": loop, "parts": _means(before, self.server.metrics()),
            "added": percentile(over_http, 50) - percentile(bare, 50),
        }  # fmt: skip

    def saturation(self) -> Content:
        """Embeds the same notes with the encoder, with requests of several notes and with requests of one note, in turn."""
        outcomes: dict[str, list[Outcome]] = {"several": [], "single": []}
        several = self.server.plan(self.several, clients=SEVERAL_CLIENTS, requests=len(self.several))
        single = self.server.plan(self.singles, clients=SINGLE_CLIENTS, requests=len(self.singles))
        ways: dict[str, Callable[[], object]] = {
            "bare": lambda: self.encoder.encode(self.prompts),
            "several": lambda: outcomes["several"].append(_all_right(run_load(several))),
            "single": lambda: outcomes["single"].append(_all_right(run_load(single))),
        }
        cpu = self.server.cpu()
        taken = alternate(ways, self.amounts.rounds)
        used = self.server.cpu().since(cpu)
        # Without the time in which the load generator's process starts.
        taken |= {name: [outcome.seconds for outcome in ended] for name, ended in outcomes.items()}
        client = sum(outcome.cpu_seconds for ended in outcomes.values() for outcome in ended)
        over_http = 2 * self.amounts.rounds * len(self.notes)
        return {
            "notes": len(self.notes), "seconds": taken, "loop_cpu": used.loop / over_http, "client_cpu": client / over_http,
            "other_cpu": used.others / over_http, "several": SEVERAL, "several_clients": SEVERAL_CLIENTS,
            "single_clients": SINGLE_CLIENTS,
        }  # fmt: skip

    def latencies(self) -> list[Content]:
        """Latencies of requests of one note by clients that send the next request after the answer to the last."""
        found = []
        for clients in self.amounts.clients:
            print(f"{clients} clients", flush=True)
            outcome = _all_right(run_load(self.server.plan(self.singles, clients=clients, seconds=self.amounts.client_seconds)))
            later = sorted(outcome.answers, key=lambda answer: answer.sent)[clients if clients > 1 else 0 :]
            times = [answer.seconds for answer in later or outcome.answers]
            percentiles = {f"p{percent}": percentile(times, percent) for percent in (50, 95, 99)}
            rate = len(outcome.answers) / outcome.seconds
            found.append({"clients": clients, "requests": len(times), "notes_per_second": rate, **percentiles})
        return found

    def overload(self, capacity: float) -> Content:
        """Open-loop arrivals at the capacity and at four times the capacity, in turn."""
        rounds: dict[str, list[Content]] = {str(load): [] for load in LOADS}
        for number in range(self.amounts.rounds):
            for load in LOADS if number % 2 == 0 else reversed(LOADS):
                print(f"overload: {load}× of {capacity:.1f} notes/s", flush=True)
                rounds[str(load)].append(self._flood(load * capacity, seed=number))
        return {"capacity": capacity, "deadline": self.amounts.deadline, "rounds": rounds}

    def _flood(self, rate: float, seed: int) -> Content:
        length, deadline = self.amounts.overload_seconds, self.amounts.deadline
        arrivals = poisson_arrivals(rate, length, seed)
        cpu, start = self.server.cpu(), time.perf_counter()
        outcome = run_load(self.server.plan(self.singles, arrivals=arrivals, timeout=deadline))
        used, took = self.server.cpu().since(cpu), time.perf_counter() - start
        counts = {str(status): outcome.count(status) for status in (OK, TOO_MANY, TOO_LATE)}
        refused = [answer for answer in outcome.answers if answer.status == TOO_MANY]
        times = [answer.seconds for answer in outcome.answers if answer.status == OK] or [deadline]
        return {
            "arrivals": len(arrivals), "counts": counts, "other": len(outcome.answers) - sum(counts.values()),
            # After half of a deadline, the queue has reached its full length. Requests that are still in it at the end do not count.
            "goodput": outcome.goodput(deadline, deadline / 2, length), "p50": percentile(times, 50), "p99": percentile(times, 99),
            "no_retry_after": sum(answer.retry_after is None or answer.retry_after < 1 for answer in refused),
            "refusal_p99": percentile([answer.seconds for answer in refused] or [0.0], 99),
            "loop_share": used.loop / took, "client_share": outcome.cpu_seconds / outcome.seconds,
        }  # fmt: skip


def measure(checkpoint: Path, *, quick: bool) -> Content:
    """See `benchmarks.speed.Section`."""
    amounts = QUICK if quick else Amounts()
    with served(checkpoint) as server:
        bench = _Bench(Checkpoint.open(checkpoint, verify="size"), server, amounts)
        bench.warm_up()
        print(f"idle: {amounts.singles} requests", flush=True)
        idle = bench.idle()
        print(f"saturation: {amounts.rounds} rounds of {amounts.notes} notes, three ways", flush=True)
        saturation = bench.saturation()
        latencies = bench.latencies()
        times = saturation["seconds"]["single"]
        capacity = saturation["notes"] * len(times) / sum(times)
        tokens = sum(map(len, bench.prompts)) / len(bench.prompts)
        return {
            "tokens": tokens, "threads": torch.get_num_threads(), "idle": idle, "saturation": saturation,
            "latencies": latencies, "overload": bench.overload(capacity),
        }  # fmt: skip


def _post(connection: http.client.HTTPConnection, body: str) -> None:
    connection.request("POST", "/notes/embed", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    if answer.status != OK:
        raise RuntimeError(f"the service answered {answer.status} to a single request")


def _all_right(outcome: Outcome) -> Outcome:
    if wrong := [answer.status for answer in outcome.answers if answer.status != OK]:
        raise RuntimeError(f"{len(wrong)} of {len(outcome.answers)} requests failed, the first with status {wrong[0]}")
    return outcome


def _means(before: dict[str, float], after: dict[str, float]) -> dict[str, Any]:
    """Mean seconds in the server: of a request, of its wait in the queue, and of its batch."""

    def mean(name: str) -> float:
        total = after[f"{name}_sum"] - before.get(f"{name}_sum", 0.0)
        return total / (after[f"{name}_count"] - before.get(f"{name}_count", 0.0))

    return {
        "request": mean("notellm_http_request_seconds"), "queue": mean("notellm_queue_seconds"),
        "batch": mean("notellm_batch_seconds"),
    }  # fmt: skip
