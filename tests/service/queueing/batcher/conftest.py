"""A batcher in front of a model that the test stops and lets go on."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from service.observability import ForwardHealth, Metrics
from service.queueing.batcher import Batcher

Start = Callable[..., Batcher[str, str]]


class Model:
    """Upper-cases words; blocks while `gate` is closed; chokes on `poison`."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()

    async def run(self, works: Sequence[str]) -> list[str]:
        return await asyncio.to_thread(self.upper, works)

    def upper(self, works: Sequence[str]) -> list[str]:
        assert self.gate.wait(10)
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
