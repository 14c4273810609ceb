"""The load generator: a process of its own that speaks just enough HTTP/1.1 to cost next to nothing beside the server.

    python -m benchmarks.load < plan.json > outcome.json

It imports the standard library only and sends bytes that were made before: what it still takes of the processor is in its outcome.
"""

import asyncio
import itertools
import json
import math
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

OK, TOO_MANY, TOO_LATE = 200, 429, 504


@dataclass(frozen=True)
class Plan:
    """What is sent.

    Attributes:
        host, port: of the server.
        path: of each POST.
        bodies: JSON texts, sent in turn and again from the first.
        clients: that each send their next request behind the answer to the last, with `requests` or `seconds`.
        requests: how many altogether.
        seconds: how long requests are begun for.
        arrivals: when requests are sent instead, in seconds from the start, whatever has become of the earlier ones.
        timeout: the header `X-Request-Timeout`.
        addresses: of the loopback network that requests come from in turn; each is a client to the server's fair queue.
    """

    host: str
    port: int
    path: str
    bodies: Sequence[str]
    clients: int = 0
    requests: int | None = None
    seconds: float | None = None
    arrivals: Sequence[float] = ()
    timeout: float | None = None
    addresses: int = 1


class Answer(NamedTuple):
    """One request's end.

    Attributes:
        sent: seconds from the start; by the schedule, where there is one: waiting to be sent is waiting.
        seconds: until the last byte of the answer.
        status: 0 where the connection broke.
        retry_after: the header, in seconds.
    """

    sent: float
    seconds: float
    status: int
    retry_after: int | None


@dataclass(frozen=True)
class Outcome:
    """What came of it, and the processor's time that sending it took."""

    seconds: float
    cpu_seconds: float
    answers: Sequence[Answer]

    def count(self, status: int) -> int:
        """Answers of a status."""
        return sum(answer.status == status for answer in self.answers)

    def goodput(self, deadline: float, begin: float, end: float) -> float:
        """Answers a second that were right and in time, of those that came from `begin` to `end` seconds after the start."""
        good = (answer for answer in self.answers if answer.status == OK and answer.seconds <= deadline)
        return sum(begin <= answer.sent + answer.seconds < end for answer in good) / (end - begin)


def percentile(values: Sequence[float], percent: float) -> float:
    """The least of at least one value that `percent` per cent of them do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(math.ceil(len(ordered) * percent / 100), 1) - 1]


def poisson_arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Moments of a Poisson process: gaps that are exponentially distributed, the same for the same seed."""
    rng = random.Random(seed)  # noqa: S311 -- a workload, no secret
    gaps = (rng.expovariate(rate) for _ in itertools.count())
    return list(itertools.takewhile(lambda moment: moment < seconds, itertools.accumulate(gaps)))


def run_load(plan: Plan) -> Outcome:
    """Carries out a plan in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.load"]
    done = subprocess.run(  # noqa: S603 -- this module
        command, input=json.dumps(asdict(plan)), stdout=subprocess.PIPE, text=True, check=True, cwd=Path(__file__).parents[1]
    )
    found = json.loads(done.stdout)
    return Outcome(found["seconds"], found["cpu_seconds"], [Answer(*answer) for answer in found["answers"]])


class _Connection:
    """A connection that stays open from request to request, and is opened again where the server has closed it."""

    def __init__(self, plan: Plan, address: str) -> None:
        self._plan = plan
        self._address = address
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> tuple[int, int | None]:
        """Status and `Retry-After`. A server may close an idle connection while a request is on its way: that one is sent again."""
        used = self._streams is not None
        try:
            return await self._exchange(request)
        except (OSError, EOFError):
            self.close()
            return await self.ask(request) if used else (0, None)

    async def _exchange(self, request: bytes) -> tuple[int, int | None]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._plan.host, self._plan.port, local_addr=(self._address, 0))
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(_header(head, b"content-length") or 0))
        if _header(head, b"connection") == b"close":
            self.close()
        retry_after = _header(head, b"retry-after")
        return int(head[9:12]), None if retry_after is None else int(retry_after)

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()
        self._streams = None


def _header(head: bytes, name: bytes) -> bytes | None:
    _, found, rest = head.partition(b"\r\n" + name + b":")
    return rest.split(b"\r\n", 1)[0].strip() if found else None


class _Load:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._requests: Iterator[bytes] = itertools.cycle([self._request(body.encode()) for body in plan.bodies])
        self._addresses = itertools.cycle([f"127.0.0.{number + 1}" for number in range(plan.addresses)])
        self._answers: list[Answer] = []
        self._start = 0.0

    def _request(self, body: bytes) -> bytes:
        timeout = f"X-Request-Timeout: {self._plan.timeout}\r\n" if self._plan.timeout else ""
        head = (
            f"POST {self._plan.path} HTTP/1.1\r\nHost: {self._plan.host}\r\nContent-Type: application/json\r\n"
            f"{timeout}Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    async def run(self) -> Outcome:
        self._start, cpu = time.perf_counter(), time.process_time()
        await (self._open_loop() if self._plan.arrivals else self._closed_loop())
        return Outcome(time.perf_counter() - self._start, time.process_time() - cpu, self._answers)

    async def _closed_loop(self) -> None:
        numbers = iter(range(self._plan.requests)) if self._plan.requests else itertools.count()

        async def client() -> None:
            connection = _Connection(self._plan, next(self._addresses))
            while next(numbers, None) is not None and not self._over():
                await self._ask(connection, time.perf_counter() - self._start)
            connection.close()

        await asyncio.gather(*(client() for _ in range(self._plan.clients)))

    async def _open_loop(self) -> None:
        idle: dict[str, list[_Connection]] = {}

        async def send(moment: float) -> None:
            address = next(self._addresses)
            free = idle.setdefault(address, [])
            connection = free.pop() if free else _Connection(self._plan, address)
            await self._ask(connection, moment)
            free.append(connection)

        async with asyncio.TaskGroup() as sending:
            for moment in self._plan.arrivals:
                await asyncio.sleep(max(0.0, self._start + moment - time.perf_counter()))
                sending.create_task(send(moment))

    async def _ask(self, connection: _Connection, sent: float) -> None:
        status, retry_after = await connection.ask(next(self._requests))
        self._answers.append(Answer(sent, time.perf_counter() - self._start - sent, status, retry_after))

    def _over(self) -> bool:
        return self._plan.seconds is not None and time.perf_counter() - self._start >= self._plan.seconds


def main() -> None:
    """Reads a plan and writes its outcome."""
    outcome = asyncio.run(_Load(Plan(**json.load(sys.stdin))).run())
    json.dump(asdict(outcome), sys.stdout)


if __name__ == "__main__":
    main()
