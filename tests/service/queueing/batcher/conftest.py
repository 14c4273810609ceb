"""A batcher in front of a model that the test stops and lets go on."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from service.observability import ForwardHealth, Metrics
from service.queueing.batcher import Batcher
from tests.clock import VirtualTime

Start = Callable[..., Batcher[str, str]]


@pytest.fixture(autouse=True)
def _virtual(virtual_time: VirtualTime) -> None:
    """`asyncio.sleep` in these tests says how much time passes, and lets everything happen that can."""


class Model:
    """Upper-cases words; blocks while `gate` is closed; chokes on `poison`."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def run(self, works: Sequence[str]) -> list[str]:
        await self.gate.wait()
        self.batches.append(list(works))
        if "poison" in works:
            raise RuntimeError("choked")
        return [work.upper() for work in works]


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
async def start(model: Model) -> AsyncIterator[Start]:
    started: list[Batcher[str, str]] = []

    def make(health: ForwardHealth | None = None, turn: asyncio.Lock | None = None, **limits: Any) -> Batcher[str, str]:
        sizes = {"max_batch_tokens": 10, "max_batch_size": 100, "max_queue_tokens": 100} | limits
        run, metrics = sizes.pop("run", model.run), sizes.pop("metrics", None) or Metrics()
        batcher = Batcher[str, str](
            "test", run, metrics=metrics, health=health or ForwardHealth(60), turn=turn or asyncio.Lock(), **sizes
        )
        batcher.start()
        started.append(batcher)
        return batcher

    yield make
    model.gate.set()
    for batcher in started:
        await batcher.close()
