import pytest

from service.breaker import CircuitBreaker
from service.errors import EngineUnavailable, IndexUnavailable


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def fail(breaker: CircuitBreaker) -> None:
    with pytest.raises(EngineUnavailable, match="down"), breaker.call():
        raise EngineUnavailable("down")


def test_it_opens_after_failures_in_a_row_and_lets_one_call_try_after_the_pause() -> None:
    clock = Clock()
    breaker = CircuitBreaker("server", EngineUnavailable, failures=2, pause_seconds=5, clock=clock)
    fail(breaker)
    with breaker.call():
        pass
    assert not breaker.open
    fail(breaker)
    fail(breaker)
    assert breaker.open
    clock.now = 4
    with pytest.raises(EngineUnavailable, match="failed 2 times in a row") as refused, breaker.call():
        pytest.fail("the call went through")
    assert refused.value.headers == {"Retry-After": "1"}
    clock.now = 6
    with breaker.call(), pytest.raises(EngineUnavailable, match="left alone"), breaker.call():
        pytest.fail("a second call went through beside the first")
    with breaker.call():
        pass
    assert not breaker.open


def test_a_failed_try_opens_it_again() -> None:
    clock = Clock()
    breaker = CircuitBreaker("server", EngineUnavailable, failures=1, pause_seconds=5, clock=clock)
    fail(breaker)
    clock.now = 6
    fail(breaker)
    clock.now = 10
    with pytest.raises(EngineUnavailable, match="left alone"), breaker.call():
        pytest.fail("the call went through")


def test_an_answer_that_is_a_refusal_is_an_answer() -> None:
    breaker = CircuitBreaker("server", EngineUnavailable, failures=1, pause_seconds=5)
    with pytest.raises(ValueError, match="wrong"), breaker.call():
        raise ValueError("wrong")
    with breaker.call():
        pass


def test_only_its_own_kind_of_failure_counts() -> None:
    breaker = CircuitBreaker("index", IndexUnavailable, failures=1, pause_seconds=5)
    with pytest.raises(EngineUnavailable), breaker.call():
        raise EngineUnavailable("down")
    with pytest.raises(IndexUnavailable, match="down"), breaker.call():
        raise IndexUnavailable("down")
    with pytest.raises(IndexUnavailable, match="left alone") as refused, breaker.call():
        pytest.fail("the call went through")
    assert refused.value.headers == {"Retry-After": "5"}
