"""The load generator: a separate process with a minimal HTTP/1.1 client, so that it takes little CPU time from the server.

    python -m benchmarks.load < plan.json > outcome.json

It imports only the standard library and sends requests that were prepared before. Its outcome includes the CPU time that it took.
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
    """What to send.

    Attributes:
        host, port: address of the server.
        path: path of each POST.
        bodies: JSON texts, sent in turn, then again from the first.
        clients: number of clients that each send the next request after the answer to the last; used with `requests` or `seconds`.
        requests: total number of requests.
        seconds: how long the clients start new requests.
        arrivals: times at which to send requests instead, in seconds from the start, even if earlier ones are not answered yet.
        timeout: the header `X-Request-Timeout`.
        addresses: loopback addresses from which requests are sent in turn; the server's fair queue treats each as a client.
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
    """The result of one request.

    Attributes:
        sent: when it was sent, in seconds from the start. With `arrivals`, the scheduled time, so that `seconds` includes a wait to send.
        seconds: seconds until the last byte of the answer.
        status: the status code; 0 if the connection broke.
        retry_after: the header, in seconds.
    """

    sent: float
    seconds: float
    status: int
    retry_after: int | None


@dataclass(frozen=True)
class Outcome:
    """The answers, and the CPU time of the load generator."""

    seconds: float
    cpu_seconds: float
    answers: Sequence[Answer]

    def count(self, status: int) -> int:
        """Number of answers with a status."""
        return sum(answer.status == status for answer in self.answers)

    def goodput(self, deadline: float, begin: float, end: float) -> float:
        """Successful answers within the deadline per second, among those from `begin` to `end` seconds after the start."""
        good = (answer for answer in self.answers if answer.status == OK and answer.seconds <= deadline)
        return sum(begin <= answer.sent + answer.seconds < end for answer in good) / (end - begin)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` per cent of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(math.ceil(len(ordered) * percent / 100), 1) - 1]


def poisson_arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Times of a Poisson process, with exponentially distributed gaps. The same seed gives the same times."""
    rng = random.Random(seed)  # noqa: S311 -- a workload, no secret
    gaps = (rng.expovariate(rate) for _ in itertools.count())
    return list(itertools.takewhile(lambda moment: moment < seconds, itertools.accumulate(gaps)))


def run_load(plan: Plan) -> Outcome:
    """Runs a plan in a separate process."""
    command = [sys.executable, "-m", "benchmarks.load"]
    done = subprocess.run(  # noqa: S603 -- this module
        command, input=json.dumps(asdict(plan)), stdout=subprocess.PIPE, text=True, check=True, cwd=Path(__file__).parents[1]
    )
    found = json.loads(done.stdout)
    return Outcome(found["seconds"], found["cpu_seconds"], [Answer(*answer) for answer in found["answers"]])


class _Connection:
    """A connection that stays open between requests, and is opened again if the server closes it."""

    def __init__(self, plan: Plan, address: str) -> None:
        self._plan = plan
        self._address = address
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> tuple[int, int | None]:
        """Sends a request and returns status and `Retry-After`. Sends it again if the server closed the idle connection meanwhile."""
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
