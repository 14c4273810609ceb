"""Token buckets, with a clock that the test sets."""

import pytest

from service.errors import RateLimited
from service.observability import Metrics
from service.security import rate_limit
from service.security.keys import Rates
from service.security.rate_limit import RateLimits


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits(clock: Clock) -> RateLimits:
    return RateLimits(Metrics(), clock)


def admitted(limits: RateLimits, rates: Rates, client: str = "anna", tries: int = 100) -> int:
    """Returns how many requests in a row are admitted."""
    for count in range(tries):
        try:
            limits.admit(client, rates)
        except RateLimited:
            return count
    return tries


def test_ten_seconds_worth_at_once_and_then_the_rate(limits: RateLimits, clock: Clock) -> None:
    rates = Rates(requests_per_second=2)
    assert admitted(limits, rates) == 20
    clock.now += 3
    assert admitted(limits, rates) == 6
    clock.now += 1000
    assert admitted(limits, rates) == 20


def test_a_rate_below_one_in_ten_seconds_still_lets_one_in(limits: RateLimits, clock: Clock) -> None:
    rates = Rates(requests_per_second=0.01)
    assert admitted(limits, rates) == 1
    clock.now += 99
    assert admitted(limits, rates) == 0
    clock.now += 2
    assert admitted(limits, rates) == 1


def test_clients_have_buckets_of_their_own(limits: RateLimits) -> None:
    rates = Rates(requests_per_second=1)
    assert admitted(limits, rates, "anna") == 10
    assert admitted(limits, rates, "bert") == 10


def test_it_is_said_when_to_come_back(limits: RateLimits, clock: Clock) -> None:
    rates = Rates(requests_per_second=0.25)
    assert admitted(limits, rates) == 2
    with pytest.raises(RateLimited, match=r"0\.25 requests per second") as caught:
        limits.admit("anna", rates)
    assert caught.value.headers == {"Retry-After": "2"}
    clock.now += 2
    assert admitted(limits, rates) == 1


def test_a_bucket_of_tokens_may_be_overdrawn_once_and_the_rate_holds(limits: RateLimits, clock: Clock) -> None:
    rates, spent, start = Rates(tokens_per_second=100), 0, clock.now
    while clock.now < start + 600:
        try:
            limits.admit("anna", rates)
        except RateLimited:
            clock.now += 1
        else:
            limits.spend("anna", rates, 7000)
            spent += 7000
    assert 100 * 600 <= spent <= 100 * (600 + rate_limit.BURST_SECONDS) + 7000


def test_tokens_are_checked_before_a_request_is_taken(limits: RateLimits, clock: Clock) -> None:
    rates = Rates(requests_per_second=1, tokens_per_second=100)
    limits.spend("anna", rates, 1100)
    assert admitted(limits, rates) == 0
    clock.now += 1
    assert admitted(limits, rates) == 10


def test_refusals_are_counted_by_limit(clock: Clock) -> None:
    metrics = Metrics()
    limits = RateLimits(metrics, clock)
    admitted(limits, Rates(requests_per_second=1))
    limits.spend("bert", Rates(tokens_per_second=1), 100)
    admitted(limits, Rates(tokens_per_second=1), "bert")
    value = metrics.registry.get_sample_value
    assert value("notellm_rate_limited_total", {"limit": "requests"}) == 1
    assert value("notellm_rate_limited_total", {"limit": "tokens"}) == 1


def test_buckets_of_ever_new_clients_do_not_pile_up(limits: RateLimits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "MAX_BUCKETS", 100)
    rates = Rates(requests_per_second=1)
    assert admitted(limits, rates, "anna") == 10
    for number in range(99):
        limits.admit(f"client {number}", rates)
    assert admitted(limits, rates, "anna") == 0
    for number in range(1000):
        limits.admit(f"other {number}", rates)
    assert len(limits._full_at) == 100


def test_who_goes_on_asking_is_not_forgotten(limits: RateLimits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "MAX_BUCKETS", 100)
    rates = Rates(tokens_per_second=1)
    for number in range(1000):
        limits.spend("anna", rates, 1)
        limits.spend(f"client {number}", rates, 1)
    assert admitted(limits, rates, "anna") == 0


def test_without_rates_everything_is_let_in(limits: RateLimits) -> None:
    assert admitted(limits, Rates()) == 100
    limits.spend("anna", Rates(), 10**9)
    assert not limits._full_at
