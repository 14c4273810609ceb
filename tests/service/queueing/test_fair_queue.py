import pytest
from hypothesis import given, strategies as st

from service.caller import Caller, Priority
from service.queueing.fair_queue import FairQueue

ANNA, BERT = Caller("anna"), Caller("bert")
JOB = Caller("job", Priority.BULK)


def drain(queue: FairQueue[str]) -> list[str]:
    return [queue.pop().item for _ in range(len(queue))]


def test_one_client_is_served_in_order() -> None:
    queue = FairQueue[str](100)
    for item in "abc":
        queue.push(item, 5, ANNA)
    assert drain(queue) == ["a", "b", "c"]


def test_clients_take_turns_by_tokens() -> None:
    queue = FairQueue[str](1000)
    for number in range(4):
        queue.push(f"a{number}", 20, ANNA)
    for number in range(4):
        queue.push(f"b{number}", 10, BERT)
    assert drain(queue) == ["b0", "a0", "b1", "b2", "a1", "b3", "a2", "a3"]


def test_who_was_served_before_has_no_debt_and_no_credit() -> None:
    queue = FairQueue[str](1000)
    for number in range(5):
        queue.push(f"a{number}", 10, ANNA)
    assert [queue.pop().item for _ in range(3)] == ["a0", "a1", "a2"]
    queue.push("b0", 10, BERT)
    queue.push("b1", 10, BERT)
    assert drain(queue) == ["a3", "b0", "a4", "b1"]


def test_interactive_goes_before_bulk_which_does_not_starve() -> None:
    queue = FairQueue[str](1000)
    for number in range(3):
        queue.push(f"bulk{number}", 1, JOB)
    for number in range(40):
        queue.push(f"now{number}", 1, ANNA)
    order = drain(queue)
    assert order[:15] == [f"now{number}" for number in range(15)]
    assert order.index("bulk0") < order.index("bulk1") < 40


def test_a_canary_goes_first() -> None:
    queue = FairQueue[str](100)
    queue.push("work", 10, ANNA)
    queue.push_first("canary")
    assert (queue.first().item, queue.tokens) == ("canary", 10)
    assert drain(queue) == ["canary", "work"]


def test_room_is_left_for_others_and_more_of_it_by_bulk() -> None:
    queue = FairQueue[str](100)
    queue.push("a", 60, ANNA)
    assert queue.excess(20, ANNA) == 0
    queue.push("a", 20, ANNA)
    assert queue.excess(1, ANNA) == 1
    assert queue.excess(16, BERT) == 0
    bulk = FairQueue[str](100)
    bulk.push("j", 40, JOB)
    assert bulk.excess(10, JOB) == 0
    assert bulk.excess(12, JOB) == 2
    assert bulk.excess(48, ANNA) == 0
    assert bulk.excess(49, ANNA) == 1


@given(st.lists(st.tuples(st.sampled_from((ANNA, JOB)), st.integers(1, 60)), max_size=30))
def test_a_newcomer_always_finds_room(requests: list[tuple[Caller, int]]) -> None:
    """Whatever two others ask for, as long as they do not ask for more than there is at once while nobody waits."""
    queue = FairQueue[str](100)
    for caller, tokens in requests:
        if not queue.excess(tokens, caller):
            queue.push("x", tokens, caller)
    assert queue.excess(1, BERT) == 0


def test_many_clients_with_bulk_work_are_no_more_than_one() -> None:
    queue = FairQueue[str](100_000)
    for number in range(32):
        for _ in range(20):
            queue.push("bulk", 10, Caller(f"job{number}", Priority.BULK))
    for _ in range(200):
        queue.push("now", 10, ANNA)
    order = [queue.pop().item for _ in range(170)]
    assert order.count("bulk") == 10


def test_work_that_was_given_up_leaves_no_debt() -> None:
    queue = FairQueue[str](100_000)
    given_up = [queue.push("gone", 10, ANNA) for _ in range(100)]
    for number in range(10):
        queue.push(f"b{number}", 10, BERT)
    queue.push("a", 10, ANNA)
    assert queue.discard(given_up, ANNA) == 100
    assert drain(queue).index("a") <= 1


def test_an_empty_queue_takes_anything() -> None:
    queue = FairQueue[str](100)
    assert queue.excess(5000, JOB) == 0
    queue.push_first("canary")
    assert queue.excess(5000, JOB) == 0


def test_how_long_a_request_waits_depends_on_whom_for() -> None:
    queue = FairQueue[str](10_000)
    queue.push("j", 500, JOB)
    queue.push("a", 300, ANNA)
    assert queue.tokens_until_done(10, BERT) == 20
    assert queue.tokens_until_done(10, ANNA) == 310
    assert queue.tokens_until_done(10, JOB) == 810


def test_what_is_discarded_is_not_served_and_takes_no_room() -> None:
    queue = FairQueue[str](100)
    tickets = [queue.push(item, 10, ANNA) for item in "abc"]
    assert queue.pop().item == "a"
    assert queue.discard(tickets[:2], ANNA) == 1
    assert (queue.tokens, drain(queue)) == (10, ["c"])
    assert queue.discard(tickets, ANNA) == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(Priority), st.integers(1, 50), st.booleans()), max_size=40))
def test_nothing_is_lost_and_tokens_add_up(arrivals: list[tuple[str, Priority, int, bool]]) -> None:
    queue = FairQueue[int](100)
    served, expected = [], 0
    for number, (client, priority, tokens, pop) in enumerate(arrivals):
        queue.push(number, tokens, Caller(client, priority))
        expected += tokens
        if pop:
            ticket = queue.pop()
            served.append(ticket.item)
            expected -= ticket.tokens
        assert queue.tokens == expected
    while len(queue):
        served.append(queue.pop().item)
    assert sorted(served) == list(range(len(arrivals)))
    assert queue.tokens == 0
    with pytest.raises(IndexError):
        queue.pop()
