"""`Batcher`: merges waiting work into batches, runs the batches one after another off the event loop, and returns the results."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, NoReturn, TypeVar

from service.caller import MORE_TIME, caller
from service.errors import DeadlineExceeded, ModelFailed, QueueFull, ServiceError, ShuttingDown
from service.observability import ForwardHealth, Metrics, tracing
from service.queueing.fair_queue import FairQueue
from service.queueing.forecast import PLANNED, Forecast

Work = TypeVar("Work")
Result = TypeVar("Result")
logger = logging.getLogger(__name__)
TOO_LITTLE_TIME = f"too little of the request's time was left when its turn came: {MORE_TIME}"


def _now() -> float:
    """Returns the seconds of the event loop's clock, which deadlines use as well."""
    return asyncio.get_running_loop().time()


@dataclass(eq=False)
class _Waiting(Generic[Work, Result]):
    work: Work
    tokens: int
    answer: asyncio.Future[Result]
    deadline: float = math.inf
    request: "list[_Waiting[Work, Result]]" = field(default_factory=list, repr=False)
    since: float = field(default_factory=_now)
    span: tracing.OpenSpan | None = field(default_factory=tracing.open_span.get)


class Batcher(Generic[Work, Result]):
    """A queue whose length is measured in tokens, and the tasks that empty it.

    A batch never waits to fill up: when the model becomes free, waiting work runs. A piece that exceeds the limits by itself runs alone.
    Work that nobody waits for leaves the queue at once. If a batch fails, its members run one by one, so only the faulty one fails.

    Args:
        name: name of the queue in metrics.
        run: runs a batch and returns one result per member.
        metrics, health: count the work; watch the running batches.
        turn: held while a batch runs. Batchers that take turns share one. Work that waits for it can still be cancelled or overtaken.
        lanes: how many batches may run at the same time, if `turn` allows it.
        abandons: whether a running batch is cancelled when nobody waits for it any more.
        max_batch_tokens, max_batch_size: limits of a batch.
        max_queue_tokens: requests are refused if they would exceed this number, or their client's share of it.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Sequence[Work]], Awaitable[Sequence[Result]]],
        *,
        metrics: Metrics,
        health: ForwardHealth,
        turn: asyncio.Lock | asyncio.Semaphore,
        lanes: int = 1,
        abandons: bool = False,
        max_batch_tokens: int,
        max_batch_size: int,
        max_queue_tokens: int,
    ) -> None:
        self._name = name
        self._run = run
        self._metrics = metrics
        self._shown = 0
        self._health = health
        self._max_batch_tokens = max_batch_tokens
        self._max_batch_size = max_batch_size
        self._max_queue_tokens = max_queue_tokens
        self._queue: FairQueue[_Waiting[Work, Result]] = FairQueue(max_queue_tokens)
        self._forecast = Forecast(_now)
        self._turn = turn
        self._lanes = lanes
        self._abandons = abandons
        self._wake = asyncio.Event()
        self._asking = 0
        self._closing = False
        self._tasks: list[asyncio.Task[None]] = []
        metrics.add_queue(name, max_queue_tokens)

    def start(self) -> None:
        """Starts the tasks that empty the queue, on the running event loop."""
        self._tasks = [asyncio.create_task(self._work(), name=f"batcher-{self._name}-{lane}") for lane in range(self._lanes)]

    async def close(self) -> None:
        """Accepts no new work, finishes the accepted work, and stops."""
        self._closing = True
        self._wake.set()
        await asyncio.gather(*self._tasks)
        self._metrics.remove_queue(self._name, self._max_queue_tokens)

    async def submit(self, works: Sequence[tuple[Work, int]]) -> list[Result]:
        """Queues the pieces of one request, each with its number of tokens, and waits for all of them. `caller` names the client.

        Raises:
            QueueFull: too many tokens are waiting, or the caller's deadline would pass first; nothing was queued.
            ModelFailed: the model failed on one of the pieces.
            ShuttingDown: `close` was called.
        """
        if not works:
            return []
        with tracing.part(f"queue {self._name}", notes=len(works), tokens=sum(cost for _, cost in works)):
            self.admit([cost for _, cost in works])
            return await self._answers(works)

    async def _answers(self, works: Sequence[tuple[Work, int]]) -> list[Result]:
        asking, loop = caller.get(), asyncio.get_running_loop()
        waiting = [_Waiting[Work, Result](work, cost, loop.create_future(), asking.deadline) for work, cost in works]
        for item in waiting:
            item.request = waiting
        tickets = [self._queue.push(item, item.tokens, asking) for item in waiting]
        asking.charge(sum(item.tokens for item in waiting))
        self._show_tokens()
        self._wake.set()
        self._asking += 1
        try:
            return list(await asyncio.gather(*(item.answer for item in waiting)))
        except BaseException:
            # A piece failed, the client left, or its time ran out: the other pieces need not run any more.
            for item in waiting:
                item.answer.cancel()
            self._metrics.queue_dropped.labels(self._name).inc(self._queue.discard(tickets, asking))
            self._show_tokens()
            raise
        finally:
            self._asking -= 1

    async def canary(self, work: Work) -> Result:
        """Runs a piece of work before all waiting work, to check whether the model still runs."""
        item = _Waiting[Work, Result](work, 0, asyncio.get_running_loop().create_future())
        self._queue.push_first(item)
        self._wake.set()
        return await item.answer

    def admit(self, costs: Sequence[int]) -> None:
        """Refuses work that has no room or would be late, so that the client learns it at once instead of after a useless wait.

        `submit` calls it. A request with work for several queues first calls it on all of them.

        Args:
            costs: tokens of each piece of work. An empty list is never refused.

        Raises:
            QueueFull, ShuttingDown: see `submit`.
        """
        if not costs:
            return
        if self._closing:
            raise ShuttingDown("no new work is accepted: send the request to another replica")
        tokens, asking = sum(costs), caller.get()
        excess = self._queue.excess(tokens, asking)
        if excess:
            self._refuse(
                f"{self._queue.tokens:,} tokens are waiting and the request has {tokens:,}: the limit is {self._max_queue_tokens:,}, "
                "part of which is reserved for other clients and, if the request is bulk work, for interactive work",
                self._forecast.seconds(excess),
            )
        wait = self._forecast.until_done(self._queue.tokens_until_done(tokens, asking))
        late = wait - PLANNED * asking.seconds_left()
        must_wait = self._queue.tokens or self._forecast.running >= self._lanes
        if must_wait and late > 0:
            self._refuse(f"so much is waiting that an answer would take about {wait:.1f} s, past the request's deadline", late)

    def _refuse(self, detail: str, seconds: float) -> NoReturn:
        if not caller.get().background:
            self._metrics.queue_refused.labels(self._name).inc()
        raise QueueFull(detail, retry_after=min(max(math.ceil(seconds), 1), 600))

    def _show_tokens(self) -> None:
        tokens = self._queue.tokens
        self._metrics.queue_tokens.labels(self._name).inc(tokens - self._shown)  # two models may have queues of the same name
        self._shown = tokens

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                async with self._turn:
                    if batch := self._next_batch():
                        await self._run_batch(batch, busy=bool(self._queue))
            if self._closing:
                return

    def _next_batch(self) -> list[_Waiting[Work, Result]]:
        batch: list[_Waiting[Work, Result]] = []
        tokens, deadline = 0, math.inf
        while self._queue and len(batch) < self._max_batch_size:
            item = self._queue.first().item
            if self._drops(item, alone=not batch and self._asking <= 1):
                self._queue.pop()
                self._metrics.queue_dropped.labels(self._name).inc()
                continue
            tokens, deadline = tokens + item.tokens, min(deadline, item.deadline)
            if batch and not self._fits(tokens, deadline):
                break
            batch.append(self._queue.pop().item)
        self._show_tokens()
        return batch

    def _drops(self, item: _Waiting[Work, Result], *, alone: bool) -> bool:
        """Whether to drop a piece: it was cancelled or, unless `alone`, it would be late. A late piece fails its whole request."""
        if item.answer.done():  # just cancelled: its request has not run yet to discard it
            return True
        late = not alone and self._forecast.seconds(item.tokens) > PLANNED * _seconds_left(item.deadline)
        if late:
            _answer_all(item.request or [item], DeadlineExceeded(TOO_LITTLE_TIME))
        return late

    def _fits(self, tokens: int, deadline: float) -> bool:
        """Says whether a batch is within the limits and will be done before the earliest deadline of its members."""
        return tokens <= self._max_batch_tokens and self._forecast.seconds(tokens) <= PLANNED * _seconds_left(deadline)

    def _show_batch(self, batch: Sequence[_Waiting[Work, Result]], start: float) -> None:
        self._metrics.batch_notes.labels(self._name).observe(len(batch))
        self._metrics.batch_tokens.labels(self._name).observe(_tokens(batch))
        for item in batch:
            self._metrics.queue_seconds.labels(self._name).observe(start - item.since)

    async def _run_batch(self, batch: list[_Waiting[Work, Result]], *, busy: bool) -> None:
        start = _now()
        self._show_batch(batch, start)
        try:
            with tracing.batch(self._name, (item.span for item in batch), _tokens(batch)), self._forecast.batch(_tokens(batch)):
                results = await self._forward(batch)
                seconds = _now() - start
                self._forecast.learn(_tokens(batch), seconds, busy=busy)
        except ServiceError as error:  # it names the cause, which is not a single note
            _answer_all(batch, error)
        except Exception as error:
            await self._isolate(batch, error)
        except asyncio.CancelledError:
            lane = asyncio.current_task()
            if not _all_answered(batch) or (lane and lane.cancelling()):  # else only the batch was cancelled
                raise
        else:
            for item, result in zip(batch, results, strict=True):
                _answer(item, result)
            self._metrics.batch_seconds.labels(self._name).observe(seconds)

    async def _forward(self, batch: list[_Waiting[Work, Result]]) -> Sequence[Result]:
        works = [item.work for item in batch]
        with self._health.forward():
            running = asyncio.ensure_future(self._run(works))
            if self._abandons:
                for item in batch:
                    item.answer.add_done_callback(lambda _: running.cancel() if _all_answered(batch) else None)
            results = await running
        if len(results) != len(works):
            raise RuntimeError(f"{len(works)} pieces of work gave {len(results)} results")
        return results

    async def _isolate(self, batch: list[_Waiting[Work, Result]], error: Exception) -> None:
        """Finds the faulty member by running each member alone."""
        if len(batch) > 1:
            logger.warning("batch failed, running its members one by one", extra={"queue": self._name, "notes": len(batch)})
            for item in batch:
                if not item.answer.done():
                    await self._run_batch([item], busy=False)
            return
        logger.error("the model failed", exc_info=error, extra={"queue": self._name})
        self._metrics.batch_failures.labels(self._name).inc()
        failure = ModelFailed("the forward pass of a note failed; the other requests are not affected. The log has the cause")
        failure.__cause__ = error
        _answer_all(batch, failure)


def _tokens(batch: Sequence[_Waiting[Work, Result]]) -> int:
    return sum(item.tokens for item in batch)


def _seconds_left(deadline: float) -> float:
    return deadline - _now()


def _answer(item: _Waiting[Work, Result], result: Result) -> None:
    if not item.answer.done():
        item.answer.set_result(result)


def _all_answered(batch: Sequence[_Waiting[Work, Result]]) -> bool:
    """Says whether every member has been answered or cancelled."""
    return all(item.answer.done() for item in batch)


def _answer_all(batch: Sequence[_Waiting[Work, Result]], error: ServiceError) -> None:
    for item in batch:
        if not item.answer.done():
            item.answer.set_exception(error)
