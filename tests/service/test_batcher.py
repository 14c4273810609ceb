import asyncio
import math
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from service.batcher import Batcher
from service.caller import Caller, Priority, caller
from service.errors import DeadlineExceeded, ModelFailed, QueueFull, ShuttingDown
from service.health import ForwardHealth, Liveness
from service.metrics import Metrics

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
        run = sizes.pop("run", model.run)
        batcher = Batcher[str, str](
            "test", run, metrics=Metrics(), health=health or ForwardHealth(60), turn=turn or asyncio.Lock(), **sizes
        )
        batcher.start()
        started.append(batcher)
        return batcher

    yield make
    model.gate.set()
    for batcher in started:
        await batcher.close()


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


def submit(batcher: Batcher[str, str], works: list[tuple[str, int]], asking: Caller) -> "asyncio.Task[list[str]]":
    """Submits for somebody, as the task of a request does."""

    async def request() -> list[str]:
        caller.set(asking)
        return await batcher.submit(works)

    return asyncio.create_task(request())


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


async def test_a_request_that_would_miss_its_deadline_is_refused_at_once(start: Start, model: Model) -> None:
    batcher = start()
    model.gate.clear()
    slow = submit(batcher, [("slow", 10), ("next", 10)], Caller("anna"))
    await asyncio.sleep(1)
    model.gate.set()
    await slow  # 10 tokens took 1 s while more were waiting, and 10 next to no time
    model.gate.clear()
    running, waiting = submit(batcher, [("r", 10)], Caller("anna")), submit(batcher, [("w", 50)], Caller("anna"))
    await asyncio.sleep(0.05)
    now = asyncio.get_running_loop().time()
    with pytest.raises(QueueFull, match="past the request's deadline"):
        await submit(batcher, [("a", 10)], Caller("anna", deadline=now + 2.5))
    other = submit(batcher, [("b", 10)], Caller("bert", deadline=now + 2.5))  # whose turn comes sooner
    await asyncio.sleep(0.05)
    model.gate.set()
    assert list(await asyncio.gather(running, waiting, other)) == [["R"], ["W"], ["B"]]


async def test_an_idle_engine_is_not_taken_for_a_slow_one(start: Start, model: Model) -> None:
    batcher = start()
    model.gate.clear()
    alone = submit(batcher, [("alone", 1)], Caller("anna"))
    await asyncio.sleep(0.3)
    model.gate.set()
    await alone  # a batch of one token: its 0.3 s say nothing about a full one
    model.gate.clear()
    running, waiting = submit(batcher, [("r", 10)], Caller("anna")), submit(batcher, [("w", 10)], Caller("anna"))
    await asyncio.sleep(0.05)
    now = asyncio.get_running_loop().time()
    other = submit(batcher, [("o", 10)], Caller("anna", deadline=now + 1))
    await asyncio.sleep(0.05)
    model.gate.set()
    assert list(await asyncio.gather(running, waiting, other)) == [["R"], ["W"], ["O"]]


@pytest.fixture
async def slow(start: Start) -> Batcher[str, str]:
    """Takes a tenth of a second a token, and has been seen to."""

    async def run(works: Sequence[str]) -> list[str]:
        batches.append(list(works))
        await asyncio.sleep(0.1 * sum(map(len, works)))
        return [work.upper() for work in works]

    batches: list[list[str]] = []
    batcher = start(run=run)
    batcher.batches = batches  # type: ignore[attr-defined]
    await batcher.submit([("aaaaaaaa", 8), ("bbb", 3)])
    batches.clear()
    return batcher


def piece(batcher: Batcher[str, str], word: str, seconds: float = math.inf) -> "asyncio.Task[list[str]]":
    deadline = asyncio.get_running_loop().time() + seconds
    return submit(batcher, [(word, len(word))], Caller("anna", deadline=deadline))


async def test_what_runs_is_waited_for_too(slow: Batcher[str, str]) -> None:
    running = piece(slow, "rrrrrrrrrr")  # for a second; nothing waits behind it
    await asyncio.sleep(0.05)
    with pytest.raises(QueueFull, match="past the request's deadline"):
        await piece(slow, "a", seconds=0.8)
    assert list(await asyncio.gather(running, piece(slow, "b", seconds=5))) == [["RRRRRRRRRR"], ["B"]]


async def test_a_batch_is_no_longer_than_its_most_urgent_member_can_wait(slow: Batcher[str, str]) -> None:
    running = piece(slow, "rrrr")
    await asyncio.sleep(0.05)
    urgent = piece(slow, "uuu", seconds=1.45)  # 1.1 s are left when its turn comes: 6 tokens are begun, 9 would be a risk
    patient = [piece(slow, "ppp"), piece(slow, "qqq")]
    await asyncio.gather(running, urgent, *patient)
    assert slow.batches == [["rrrr"], ["uuu", "ppp"], ["qqq"]]  # type: ignore[attr-defined]


async def test_what_cannot_be_done_in_time_any_more_is_not_begun(start: Start, model: Model) -> None:
    batcher = start(max_batch_tokens=2)
    model.gate.clear()
    measured = submit(batcher, [("mm", 2), ("nn", 2)], Caller("anna"))
    await asyncio.sleep(0.4)
    model.gate.set()
    await measured
    model.batches.clear()
    model.gate.clear()
    running = piece(batcher, "rr")
    await asyncio.sleep(0.05)
    late, patient = piece(batcher, "ll", seconds=1.5), piece(batcher, "pp")
    await asyncio.sleep(1.45)  # the running batch takes far longer than forecast, and leaves 0.05 s
    model.gate.set()
    with pytest.raises(DeadlineExceeded, match="X-Request-Timeout"):
        await late
    assert list(await asyncio.gather(running, patient)) == [["RR"], ["PP"]]
    assert model.batches == [["rr"], ["pp"]]


async def test_what_waits_alone_runs_whatever_was_forecast(start: Start, model: Model) -> None:
    batcher = start(max_batch_tokens=2)
    model.gate.clear()
    measured = submit(batcher, [("mm", 2), ("nn", 2)], Caller("anna"))
    await asyncio.sleep(1)
    model.gate.set()
    await measured
    model.batches.clear()
    assert await piece(batcher, "aa", seconds=0.3) == ["AA"]  # in an idle engine, and although 2 tokens took far longer before
    deadline = asyncio.get_running_loop().time() + 0.3
    several = [("bb", 2), ("cc", 2), ("dd", 2)]
    assert await submit(batcher, several, Caller("anna", deadline=deadline)) == ["BB", "CC", "DD"]


async def test_the_rest_of_a_request_that_is_late_is_not_begun_either(start: Start, model: Model) -> None:
    batcher = start(max_batch_tokens=2)
    model.gate.clear()
    measured = submit(batcher, [("mm", 2), ("nn", 2)], Caller("anna"))
    await asyncio.sleep(0.4)
    model.gate.set()
    await measured
    model.batches.clear()
    model.gate.clear()
    running = piece(batcher, "rr")
    await asyncio.sleep(0.05)
    deadline = asyncio.get_running_loop().time() + 2.5
    late = submit(batcher, [("l1", 2), ("l2", 2), ("l3", 2)], Caller("anna", deadline=deadline))
    patient = piece(batcher, "pp")
    await asyncio.sleep(2.45)
    model.gate.set()
    with pytest.raises(DeadlineExceeded):
        await late
    assert list(await asyncio.gather(running, patient)) == [["RR"], ["PP"]]
    assert model.batches == [["rr"], ["pp"]]


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


async def test_nothing_to_do_is_never_refused(start: Start) -> None:
    batcher = start()
    await batcher.close()
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


async def test_idle_is_healthy_and_so_is_one_poisonous_note(start: Start) -> None:
    health = ForwardHealth(stall_seconds=0.05)
    batcher = start(health)
    liveness = Liveness({"test": (health, lambda: batcher.canary("canary"))}, canary_seconds=5)
    await asyncio.sleep(0.1)
    assert await liveness.failure() is None
    with pytest.raises(ModelFailed):
        await batcher.submit([("poison", 1)])
    await asyncio.sleep(0.1)
    assert health.doubtful
    assert await liveness.failure() is None  # the canary lived
    assert not health.doubtful


async def test_a_hanging_model_is_noticed(start: Start, model: Model) -> None:
    health = ForwardHealth(stall_seconds=0.05)
    batcher = start(health)
    liveness = Liveness({"embed": (health, lambda: batcher.canary("canary"))}, canary_seconds=0.2)
    model.gate.clear()
    stuck = asyncio.create_task(batcher.submit([("stuck", 1)]))
    await asyncio.sleep(0.1)
    failure = await liveness.failure()
    assert failure is not None
    assert "embed: no forward pass ended" in failure
    model.gate.set()
    await stuck
    await asyncio.sleep(0.05)
    assert await liveness.failure() is None


async def test_a_model_that_only_fails_is_noticed(start: Start) -> None:
    health = ForwardHealth(stall_seconds=0.05)
    batcher = start(health)
    liveness = Liveness({"embed": (health, lambda: batcher.canary("poison"))}, canary_seconds=5)
    with pytest.raises(ModelFailed):
        await batcher.submit([("poison", 1)])
    await asyncio.sleep(0.1)
    assert "a canary too (ModelFailed)" in str(await liveness.failure())


async def test_a_busy_queue_is_no_illness(start: Start, model: Model) -> None:
    health = ForwardHealth(stall_seconds=0.0)
    batcher = start(health)
    liveness = Liveness({"embed": (health, lambda: batcher.canary("canary"))}, canary_seconds=5)
    model.gate.clear()
    first = asyncio.create_task(batcher.submit([("first", 90)]))
    await asyncio.sleep(0.05)
    waiting = asyncio.create_task(batcher.submit([(f"w{number}", 5) for number in range(20)]))
    probe = asyncio.create_task(liveness.failure())
    await asyncio.sleep(0.05)
    model.gate.set()
    assert await probe is None
    await asyncio.gather(first, waiting)
    assert model.batches[1][0] == "canary"


async def test_a_model_that_loses_results_fails_its_batch_and_not_the_queue(start: Start, model: Model) -> None:
    async def losing(works: Sequence[str]) -> list[str]:
        return (await model.run(works))[: -1 if "a" in works else None]

    batcher = start(run=losing)
    with pytest.raises(ModelFailed):
        await batcher.submit([("a", 1)])
    assert await batcher.submit([("b", 1)]) == ["B"]
