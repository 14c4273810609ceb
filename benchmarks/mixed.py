"""Section `mixed`: how embedding and generation slow each other down, on one engine for both and on two engines that share the cores."""

import asyncio
import itertools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from matplotlib.figure import Figure

from benchmarks.measure import Content, Spread
from benchmarks.suggesters import CACHE_MIB, note_supply
from harness.processes import proportional_bytes
from harness.service import RunningService, running_service
from harness.vllm_server import VllmServer, vllm_server
from notellm import Note
from service.engines import usable_cores

TITLE = "Mixed traffic: one engine or two"
ONE, TWO = "one engine (`vllm`)", "two engines (`remote`)"
EMBED, GENERATE = "embed", "generate"
TRAFFIC: Mapping[str, tuple[str, ...]] = {"embedding alone": (EMBED,), "hashtags alone": (GENERATE,), "both": (EMBED, GENERATE)}
ROUNDS = 2
# How long clients send requests, in each round and for each traffic.
SECONDS = 5.0
CLIENTS = {EMBED: 4, GENERATE: 4}
NOTES_A_REQUEST = {EMBED: 4, GENERATE: 1}
COUNT = 3
START_SECONDS = 180
TIMEOUT_SECONDS = 120
MIB = 2**20


@dataclass(frozen=True)
class System:
    """A service and the processes that belong to it."""

    name: str
    service: RunningService
    processes: tuple[int, ...]

    def memory(self) -> int:
        """Proportional set size of all processes, in bytes."""
        return sum(map(proportional_bytes, self.processes))


@contextmanager
def open_systems(checkpoint: Path) -> Iterator[list[System]]:
    """Starts both systems with default settings, except that hashtags are written, because ranking is not generation."""
    threads = str(usable_cores())
    common = {"NOTELLM_THREADS": threads, "NOTELLM_HASHTAG_VOCABULARY": "0", "NOTELLM_LOG_LEVEL": "WARNING"}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def start(name: str, **settings: str) -> RunningService:
            print(f"starting {name}", flush=True)
            settings = common | settings
            return stack.enter_context(running_service(checkpoint, folder / name, start_seconds=START_SECONDS, **settings))

        one = start("one", NOTELLM_ENGINE="vllm", NOTELLM_VLLM_CACHE_MIB=str(CACHE_MIB))
        server: VllmServer = stack.enter_context(vllm_server(checkpoint, folder))
        two = start("two", NOTELLM_ENGINE="remote", NOTELLM_REMOTE_URL=server.url)
        yield [System(ONE, one, (one.process.pid,)), System(TWO, two, (two.process.pid, server.process.pid))]


def measure(checkpoint: Path, *, quick: bool) -> Content:
    """See `Section.measure`."""
    rounds, seconds = (1, 2.0) if quick else (ROUNDS, SECONDS)
    with open_systems(checkpoint) as systems:
        rates = asyncio.run(_measure(systems, rounds, seconds))
        memory = {system.name: system.memory() for system in systems}
    return {
        "threads": usable_cores(), "rounds": rounds, "seconds": seconds, "clients": CLIENTS, "notes a request": NOTES_A_REQUEST,
        "count": COUNT, "rates": rates, "memory": memory,
    }  # fmt: skip


async def _measure(systems: list[System], rounds: int, seconds: float) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Notes per second in each round, by system, traffic and work."""
    rates: dict[str, dict[str, dict[str, list[float]]]] = {
        one.name: {name: {work: [] for work in works} for name, works in TRAFFIC.items()} for one in systems
    }
    supply = note_supply()
    for system in systems:
        print(f"warming up {system.name}", flush=True)
        await _traffic(system, TRAFFIC["both"], 0, supply)
    for number in range(rounds):
        for traffic, works in TRAFFIC.items():
            for system in systems if number % 2 else systems[::-1]:
                found = await _traffic(system, works, seconds, supply)
                for work, rate in found.items():
                    rates[system.name][traffic][work].append(rate)
                told = ", ".join(f"{work} {rate:.2f}" for work, rate in found.items())
                print(f"round {number + 1}, {system.name}, {traffic}: {told} notes/s", flush=True)
    return rates


async def _traffic(system: System, works: tuple[str, ...], seconds: float, supply: Iterator[Note]) -> dict[str, float]:
    """Notes per second of each work while all works run.

    Clients that start together are answered together. Requests that were sent before the time is over count until their answers, and
    until then the other clients keep sending.
    """
    clock = asyncio.get_running_loop().time
    notes, last = dict.fromkeys(works, 0), dict.fromkeys(works, 0.0)
    async with httpx.AsyncClient(base_url=system.service.url, timeout=TIMEOUT_SECONDS, trust_env=False) as http:

        async def ask(work: str) -> None:
            path, body = _request(work, list(itertools.islice(supply, NOTES_A_REQUEST[work])))
            (await http.post(path, json=body)).raise_for_status()

        async def client(work: str) -> None:
            asking = True
            while asking:
                await ask(work)
                notes[work] += NOTES_A_REQUEST[work]
                last[work] = clock() - start
                asking = last[work] < seconds
            done.release()
            while True:
                await ask(work)

        done, start = asyncio.Semaphore(0), clock()
        async with asyncio.TaskGroup() as group:
            clients = [group.create_task(client(work)) for work in works for _ in range(CLIENTS[work])]
            for _ in clients:
                await done.acquire()
            for one in clients:
                one.cancel()
    return {work: notes[work] / last[work] for work in works}


def _request(work: str, notes: Sequence[Note]) -> tuple[str, dict[str, Any]]:
    """Path and body of a request."""
    if work == EMBED:
        kept = [note.model_dump(mode="json", include={"id", "title", "content", "hashtags"}) for note in notes]
        return "/notes/embed", {"notes": kept, "store": False, "encoding_format": "base64"}
    asked = [note.model_dump(mode="json", include={"title", "content", "hashtags"}) for note in notes]
    return "/notes/hashtags", {"notes": asked, "count": COUNT}


def kept(alone: Sequence[float], both: Sequence[float]) -> Spread:
    """The share of its own rate that a work keeps while the other one runs, round by round."""
    return Spread.of([beside / own for own, beside in zip(alone, both, strict=True)])


def _alone(work: str) -> str:
    return next(traffic for traffic, works in TRAFFIC.items() if works == (work,))


def markdown(content: Content) -> str:
    """See `Section.markdown`."""
    clients, notes = content["clients"], content["notes a request"]
    lines = [
        f"""Requests over HTTP on {content["threads"]} cores: {clients[EMBED]} clients embed {notes[EMBED]} notes per request, and
{clients[GENERATE]} clients want {content["count"]} written hashtags and a category for one note. Each client asks again when it has its
answer. There are {content["rounds"]} rounds of {content["seconds"]:.0f} s, and the systems take turns. One engine: the service over one
vLLM, in which our forward pass embeds. Two engines: the service embeds with its own copy of the weights, and a `vllm serve` on the same
cores generates. Memory is the proportional set size of all processes of the system, including vLLM's caches of {CACHE_MIB} MiB.
""",
        "| | embedding: notes/s | with hashtags beside | share kept | hashtags: notes/s | with embedding beside | share kept | MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for system, rates in content["rates"].items():
        cells = []
        for work in (EMBED, GENERATE):
            alone, both = rates[_alone(work)][work], rates["both"][work]
            cells += [Spread.of(alone).text(), Spread.of(both).text(), kept(alone, both).text()]
        lines.append(f"| {system} | {' | '.join(cells)} | {content['memory'][system] / MIB:.0f} |")
    return "\n".join(lines)


def figures(content: Content) -> dict[str, Any]:
    """See `Section.figures`."""
    figure = Figure(figsize=(13, 4.5), layout="constrained")
    for axes, work in zip(figure.subplots(1, 2), (EMBED, GENERATE), strict=True):
        for place, (system, rates) in enumerate(content["rates"].items()):
            spreads = [Spread.of(rates[traffic][work]) for traffic in (_alone(work), "both")]
            medians = [one.median for one in spreads]
            error = [[one.median - one.least for one in spreads], [one.most - one.median for one in spreads]]
            axes.bar([place * 0.4, 1 + place * 0.4], medians, 0.38, yerr=error, label=system, error_kw={"linewidth": 0.8})
        axes.set_xticks([0.2, 1.2], ["alone", "both at once"])
        axes.set(ylabel="notes/s", title={EMBED: "embedding", GENERATE: "hashtags and a category"}[work])
        axes.legend()
    return {"mixed-traffic": figure}
