"""Merging, fairness, refusal, and work that is given up."""

import asyncio
from collections.abc import Sequence

import pytest

from service.caller import Caller, Priority, in_background
from service.errors import ModelFailed, QueueFull, ShuttingDown
from service.observability import Metrics
from tests.service.queueing.batcher.asking import submit
from tests.service.queueing.batcher.conftest import Model, Start


async def test_answers_come_in_the_order_of_the_request(start: Start) -> None:
    assert await start().submit([("a", 4), ("b", 9), ("c", 2)]) == ["A", "B", "C"]


async def test_requests_that_wait_are_merged_up_to_the_token_budget(start: Start, model: Model) -> None:
    batcher = start()
    model.gate.clear()
    first = asyncio.create_task(batcher.submit([("first", 1)]))
    await asyncio.sleep(0.05)
    waiting = [asyncio.create_task(batcher.submit([(name, 4)])) for name in "abcde"]
    await asyncio.sleep(0.05)
    model.gate.set()
    assert await asyncio.gather(first, *waiting) == [["FIRST"], ["A"], ["B"], ["C"], ["D"], ["E"]]
    assert model.batches == [["first"], ["a", "b"], ["c", "d"], ["e"]]


async def test_work_over_the_budget_runs_alone(start: Start, model: Model) -> None:
    async with asyncio.timeout(5):
        assert await start().submit([("small", 1), ("huge", 5000), ("small", 1)]) == ["SMALL", "HUGE", "SMALL"]
    assert model.batches == [["small"], ["huge"], ["small"]]


async def test_no_more_than_the_batch_size(start: Start, model: Model) -> None:
    await start(max_batch_size=2).submit([(name, 1) for name in "abc"])
    assert max(map(len, model.batches)) == 2


async def test_a_full_queue_refuses_and_says_when_to_come_back(start: Start, model: Model) -> None:
    batcher = start()
    await batcher.submit([("warm", 5)])
    model.gate.clear()
    running = asyncio.create_task(batcher.submit([("running", 1)]))
    await asyncio.sleep(0.05)
    waiting = asyncio.create_task(batcher.submit([("waiting", 90)]))
    await asyncio.sleep(0.05)
    with pytest.raises(QueueFull, match="the limit is 100") as refusal:
        await batcher.submit([("more", 20)])
    assert int(refusal.value.headers["Retry-After"]) >= 1
    model.gate.set()
    assert list(await asyncio.gather(running, waiting)) == [["RUNNING"], ["WAITING"]]
    assert await batcher.submit([("more", 20)]) == ["MORE"]


async def test_a_client_that_asks_for_much_does_not_hold_up_another(start: Start, model: Model) -> None:
    batcher = start(max_batch_tokens=2)
    model.gate.clear()
    much = submit(batcher, [(f"a{number}", 2) for number in range(10)], Caller("anna"))
    await asyncio.sleep(0.05)
    little = submit(batcher, [("b", 2)], Caller("bert"))
    await asyncio.sleep(0.05)
    model.gate.set()
    await asyncio.gather(much, little)
    assert model.batches.index(["b"]) <= 2


async def test_bulk_work_waits_for_interactive(start: Start, model: Model) -> None:
    batcher = start(max_batch_tokens=2)
    model.gate.clear()
    job = submit(batcher, [(f"j{number}", 2) for number in range(4)], Caller("job", Priority.BULK))
    await asyncio.sleep(0.05)
    now = submit(batcher, [(f"n{number}", 2) for number in range(4)], Caller("anna"))
    await asyncio.sleep(0.05)
    model.gate.set()
    await asyncio.gather(job, now)
    assert model.batches == [[word] for word in ("j0", "n0", "n1", "n2", "n3", "j1", "j2", "j3")]


async def test_what_waits_for_the_other_queue_of_a_thread_can_still_be_given_up(start: Start, model: Model) -> None:
    turn = asyncio.Lock()
    first, second = start(turn=turn), start(turn=turn)
    model.gate.clear()
    running = submit(first, [("running", 1)], Caller("anna"))
    await asyncio.sleep(0.05)
    gone = submit(second, [("gone", 1)], Caller("anna"))
    await asyncio.sleep(0.05)
    gone.cancel()
    await asyncio.wait({gone})
    model.gate.set()
    await running
    assert await second.submit([("next", 1)]) == ["NEXT"]
    assert model.batches == [["running"], ["next"]]


async def test_what_is_given_up_makes_room_at_once(start: Start, model: Model) -> None:
    batcher = start()
    model.gate.clear()
    running = submit(batcher, [("running", 1)], Caller("anna"))
    await asyncio.sleep(0.05)
    gone = submit(batcher, [("gone", 70)], Caller("anna"))
    await asyncio.sleep(0.05)
    with pytest.raises(QueueFull):
        await submit(batcher, [("next", 60)], Caller("anna"))
    gone.cancel()
    await asyncio.wait({gone})
    waiting = submit(batcher, [("next", 60)], Caller("anna"))
    await asyncio.sleep(0.05)
    model.gate.set()
    assert list(await asyncio.gather(running, waiting)) == [["RUNNING"], ["NEXT"]]
    assert model.batches == [["running"], ["next"]]
    assert batcher._metrics.queue_dropped.labels("test")._value.get() == 1


async def test_queues_of_one_name_show_the_sum_of_what_may_wait(start: Start) -> None:
    """As they show the sum of what waits: else two that are 39% full would look like one of 78%."""
    metrics = Metrics()
    first, second = start(metrics=metrics), start(metrics=metrics)
    shown = [metrics.registry.get_sample_value("notellm_queue_max_tokens", {"queue": "test"})]
    for batcher in (first, second):
        await batcher.close()
        shown.append(metrics.registry.get_sample_value("notellm_queue_max_tokens", {"queue": "test"}))
    assert shown == [200, 100, 0]


@pytest.mark.parametrize(
    ("asking", "counted"), [(Caller("anna"), 1), (in_background(Caller("anna")), 0)], ids=["request", "beside"]
)
async def test_a_refusal_counts_where_it_is_a_requests(start: Start, asking: Caller, counted: int) -> None:
    metrics = Metrics()
    batcher = start(metrics=metrics)
    with pytest.raises(QueueFull):
        await asyncio.gather(*(submit(batcher, [(word, 60)], asking) for word in ("first", "second")))
    assert metrics.registry.get_sample_value("notellm_queue_refused_total", {"queue": "test"}) == counted


async def test_costs_alone_are_refused_as_their_work_would_be(start: Start, model: Model) -> None:
    metrics = Metrics()
    batcher = start(metrics=metrics)
    model.gate.clear()
    waiting = submit(batcher, [("running", 1), ("waiting", 60)], Caller("anna"))
    async with asyncio.timeout(10):
        while metrics.registry.get_sample_value("notellm_queue_tokens", {"queue": "test"}) != 60:
            await asyncio.sleep(0.01)
    batcher.admit([10, 10])
    with pytest.raises(QueueFull, match="60 tokens are waiting and the request has 50: the limit is 100"):
        batcher.admit([25, 25])
    model.gate.set()
    await waiting
    await batcher.close()
    with pytest.raises(ShuttingDown):
        batcher.admit([1])


async def test_nothing_to_do_is_never_refused(start: Start) -> None:
    batcher = start()
    await batcher.close()
    batcher.admit([])
    assert await batcher.submit([]) == []


async def test_poison_fails_alone(start: Start, model: Model) -> None:
    batcher = start(max_batch_tokens=100)
    model.gate.clear()
    first = asyncio.create_task(batcher.submit([("first", 1)]))
    await asyncio.sleep(0.05)
    good, bad, other = (asyncio.create_task(batcher.submit([(name, 1)])) for name in ("good", "poison", "other"))
    await asyncio.sleep(0.05)
    model.gate.set()
    assert list(await asyncio.gather(first, good, other)) == [["FIRST"], ["GOOD"], ["OTHER"]]
    with pytest.raises(ModelFailed):
        await bad


async def test_work_whose_client_left_is_not_run(start: Start, model: Model) -> None:
    batcher = start()
    model.gate.clear()
    first = asyncio.create_task(batcher.submit([("first", 1)]))
    await asyncio.sleep(0.05)
    gone = asyncio.create_task(batcher.submit([("gone", 1)]))
    await asyncio.sleep(0.05)
    gone.cancel()
    await asyncio.sleep(0.05)
    model.gate.set()
    await first
    assert await batcher.submit([("next", 1)]) == ["NEXT"]
    assert model.batches == [["first"], ["next"]]


async def test_closing_finishes_what_was_accepted_and_takes_nothing_more(start: Start, model: Model) -> None:
    batcher = start()
    model.gate.clear()
    accepted = asyncio.create_task(batcher.submit([("accepted", 1)]))
    await asyncio.sleep(0.05)
    closing = asyncio.create_task(batcher.close())
    await asyncio.sleep(0.05)
    with pytest.raises(ShuttingDown):
        await batcher.submit([("late", 1)])
    model.gate.set()
    await closing
    assert await accepted == ["ACCEPTED"]


async def test_a_model_that_loses_results_fails_its_batch_and_not_the_queue(start: Start, model: Model) -> None:
    async def losing(works: Sequence[str]) -> list[str]:
        return (await model.run(works))[: -1 if "a" in works else None]

    batcher = start(run=losing)
    with pytest.raises(ModelFailed):
        await batcher.submit([("a", 1)])
    assert await batcher.submit([("b", 1)]) == ["B"]
