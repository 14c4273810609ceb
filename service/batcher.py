"""`Batcher`: merges what waits into batches, runs them one after another off the event loop, and answers each waiter."""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from service.errors import ModelFailed, QueueFull, ShuttingDown
from service.health import ForwardHealth
from service.metrics import Metrics

Work = TypeVar("Work")
Result = TypeVar("Result")
logger = logging.getLogger(__name__)


@dataclass(eq=False)
class _Waiting(Generic[Work, Result]):
    work: Work
    tokens: int
    answer: asyncio.Future[Result]
    since: float = field(default_factory=time.perf_counter)


class Batcher(Generic[Work, Result]):
    """A queue that is charged by tokens, and the task that empties it.

    A batch never waits to fill up: what is there when the model gets free runs. A piece of work that alone exceeds the limits
    runs alone. When a batch fails, its members run one by one, so that only the one at fault fails.

    Args:
        name: of the queue in metrics.
        run: the blocking function that does a batch and returns a result for each member.
        executor: where `run` runs; one thread, so that batches follow each other.
        max_batch_tokens, max_batch_size: limits of a batch.
        max_queue_tokens: beyond it, requests are refused.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Sequence[Work]], Sequence[Result]],
        *,
        executor: Executor,
        metrics: Metrics,
        health: ForwardHealth,
        max_batch_tokens: int,
        max_batch_size: int,
        max_queue_tokens: int,
    ) -> None:
        self._name = name
        self._run = run
        self._executor = executor
        self._metrics = metrics
        self._health = health
        self._max_batch_tokens = max_batch_tokens
        self._max_batch_size = max_batch_size
        self._max_queue_tokens = max_queue_tokens
        self._queue: deque[_Waiting[Work, Result]] = deque()
        self._queued_tokens = 0
        self._tokens_per_second = 0.0
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts to empty the queue, on the running event loop."""
        self._task = asyncio.create_task(self._work(), name=f"batcher-{self._name}")

    async def close(self) -> None:
        """Takes nothing more, finishes what was accepted, and stops."""
        self._closing = True
        self._wake.set()
        if self._task:
            await self._task

    async def submit(self, works: Sequence[tuple[Work, int]]) -> list[Result]:
        """Queues the pieces of one request, each with its tokens, and waits for all of them.

        Raises:
            QueueFull: too many tokens are waiting; nothing of the request was queued.
            ModelFailed: the model failed on one of the pieces.
            ShuttingDown: `close` was called.
        """
        if not works:
            return []
        if self._closing:
            raise ShuttingDown("no new work is accepted: send the request to another replica")
        tokens = sum(cost for _, cost in works)
        if self._queue and self._queued_tokens + tokens > self._max_queue_tokens:
            self._metrics.queue_refused.labels(self._name).inc()
            raise QueueFull(
                f"{self._queued_tokens:,} tokens are waiting and the request has {tokens:,}: the limit is {self._max_queue_tokens:,}",
                retry_after=self._seconds_until_room(tokens),
            )
        loop = asyncio.get_running_loop()
        waiting = [_Waiting[Work, Result](work, cost, loop.create_future()) for work, cost in works]
        self._queue.extend(waiting)
        self._charge(tokens)
        self._wake.set()
        try:
            return list(await asyncio.gather(*(item.answer for item in waiting)))
        finally:
            for item in waiting:  # one failed or the client left: the others need not run any more
                item.answer.cancel()

    async def canary(self, work: Work) -> Result:
        """Runs a piece of work before all that waits, whatever waits: to see whether the model still runs."""
        item = _Waiting[Work, Result](work, 0, asyncio.get_running_loop().create_future())
        self._queue.appendleft(item)
        self._wake.set()
        return await item.answer

    def _charge(self, tokens: int) -> None:
        self._queued_tokens += tokens
        self._metrics.queue_tokens.labels(self._name).set(self._queued_tokens)

    def _seconds_until_room(self, tokens: int) -> int:
        excess = self._queued_tokens + tokens - self._max_queue_tokens
        return min(max(math.ceil(excess / self._tokens_per_second), 1), 600) if self._tokens_per_second else 1

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while batch := self._next_batch():
                await self._run_batch(batch)
            if self._closing:
                return

    def _next_batch(self) -> list[_Waiting[Work, Result]]:
        batch: list[_Waiting[Work, Result]] = []
        tokens = 0
        while self._queue and len(batch) < self._max_batch_size:
            item = self._queue[0]
            if batch and not item.answer.done() and tokens + item.tokens > self._max_batch_tokens:
                break
            self._queue.popleft()
            self._charge(-item.tokens)
            if not item.answer.done():
                batch.append(item)
                tokens += item.tokens
        return batch

    async def _run_batch(self, batch: list[_Waiting[Work, Result]]) -> None:
        start = time.perf_counter()
        tokens = sum(item.tokens for item in batch)
        self._metrics.batch_notes.labels(self._name).observe(len(batch))
        self._metrics.batch_tokens.labels(self._name).observe(tokens)
        for item in batch:
            self._metrics.queue_seconds.labels(self._name).observe(start - item.since)
        try:
            results = await self._forward([item.work for item in batch])
        except Exception as error:
            await self._isolate(batch, error)
        else:
            for item, result in zip(batch, results, strict=True):
                if not item.answer.done():
                    item.answer.set_result(result)
        seconds = time.perf_counter() - start
        self._metrics.batch_seconds.labels(self._name).observe(seconds)
        self._tokens_per_second = tokens / max(seconds, 1e-6)

    async def _forward(self, works: list[Work]) -> Sequence[Result]:
        with self._health.forward():
            results = await asyncio.get_running_loop().run_in_executor(self._executor, self._run, works)
        if len(results) != len(works):
            raise RuntimeError(f"{len(works)} pieces of work gave {len(results)} results")
        return results

    async def _isolate(self, batch: list[_Waiting[Work, Result]], error: Exception) -> None:
        """Finds out who is at fault by running each member alone."""
        if len(batch) > 1:
            logger.warning("batch failed, running its members one by one", extra={"queue": self._name, "notes": len(batch)})
            for item in batch:
                if not item.answer.done():
                    await self._run_batch([item])
            return
        logger.error("the model failed", exc_info=error, extra={"queue": self._name})
        self._metrics.batch_failures.labels(self._name).inc()
        if not batch[0].answer.done():
            failure = ModelFailed(
                "the forward pass of a note failed; the other requests are not affected. The log has the cause"
            )
            failure.__cause__ = error
            batch[0].answer.set_exception(failure)
