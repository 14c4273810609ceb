"""More is asked than the engine can do: the rest is refused, and as much is answered in time as before.

The engine's speed is a number here and time is virtual, so that the outcome is the same on every machine. How a real model and a real
server do is measured by `benchmarks.http`.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.load import poisson_arrivals
from service.caller import Caller
from service.errors import DeadlineExceeded, QueueFull
from service.queueing.batcher import Batcher
from tests.service.queueing.batcher.asking import submit
from tests.service.queueing.batcher.conftest import Start

SECONDS_A_TOKEN = 0.01
TOKENS = range(5, 26)
CAPACITY = 1 / (SECONDS_A_TOKEN * (TOKENS[0] + TOKENS[-1]) / 2)  # notes a second
SECONDS, DEADLINE_SECONDS = 300.0, 5.0


@dataclass
class Engine:
    """Takes the same time for each token, and counts the tokens."""

    computed: int = 0

    async def run(self, works: Sequence[str]) -> list[str]:
        tokens = sum(map(len, works))
        self.computed += tokens
        await asyncio.sleep(SECONDS_A_TOKEN * tokens)
        return [work.upper() for work in works]


@dataclass
class Outcome:
    """What became of the requests; `answered` are the tokens of those that were answered in time."""

    ends: Counter[str] = field(default_factory=Counter)
    answered: int = 0


async def ask(batcher: Batcher[str, str], text: str, client: str, outcome: Outcome) -> None:
    """A request that is given up at its deadline, as `RequestLifetime` does."""
    deadline = asyncio.get_running_loop().time() + DEADLINE_SECONDS
    try:
        async with asyncio.timeout_at(deadline):
            await submit(batcher, [(text, len(text))], Caller(client, deadline=deadline))
    except QueueFull:
        outcome.ends["refused"] += 1
    except (DeadlineExceeded, TimeoutError):
        outcome.ends["late"] += 1
    else:
        outcome.ends["answered"] += 1
        outcome.answered += len(text)


async def flood(start: Start, load: float) -> tuple[Outcome, Engine]:
    """Arrivals that wait for nobody, at so many times the capacity."""
    engine, outcome, drawn, clock = Engine(), Outcome(), random.Random(1), asyncio.get_running_loop().time
    batcher = start(run=engine.run, max_batch_tokens=100, max_queue_tokens=2000)
    begin = clock()
    async with asyncio.TaskGroup() as asking:
        for number, moment in enumerate(poisson_arrivals(load * CAPACITY, SECONDS, seed=1)):
            await asyncio.sleep(begin + moment - clock())
            asking.create_task(ask(batcher, "x" * drawn.choice(TOKENS), f"client {number % 8}", outcome))
    return outcome, engine


async def test_overload_is_shed_and_costs_no_goodput(start: Start) -> None:
    once, _ = await flood(start, 1)
    fourfold, engine = await flood(start, 4)
    assert once.answered > 0.9 * SECONDS / SECONDS_A_TOKEN
    assert fourfold.answered >= 0.95 * once.answered
    assert fourfold.ends["refused"] > fourfold.ends["answered"] > fourfold.ends["late"]
    assert fourfold.answered > 0.95 * engine.computed, "the engine works for answers that somebody waits for"
