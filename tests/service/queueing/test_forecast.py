import pytest

from service.queueing.forecast import Forecast


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_nothing_is_known_before_anything_was_measured() -> None:
    assert Forecast().until_done(1_000_000) == 0.0


def test_what_runs_counts_by_what_is_left_of_it() -> None:
    clock = Clock()
    forecast = Forecast(clock)
    forecast.learn(10, 1.0, busy=True)
    with forecast.batch(20):
        assert forecast.running == 1
        assert forecast.until_done(5) == pytest.approx(2.5)
        clock.now += 1.5
        assert forecast.until_done(5) == pytest.approx(1.0)
        clock.now += 2.5  # twice as long as forecast: 4 s for 20 tokens, beside half of 1 s for 10
        assert forecast.until_done(5) == pytest.approx(5 * 4.5 / 25)
        clock.now += 1000.0  # it hangs
        assert forecast.until_done(5) > 100.0
    assert forecast.running == 0


def test_one_slow_note_does_not_keep_many_away() -> None:
    """A single note takes longer than its share of a batch of sixteen."""
    clock = Clock()
    forecast = Forecast(clock)
    forecast.learn(4000, 10.0, busy=True)
    with forecast.batch(250):
        clock.now += 3.9
        assert 20.0 < forecast.until_done(8000) < 40.0


def test_batches_beside_each_other_share_the_engine() -> None:
    clock = Clock()
    forecast = Forecast(clock)
    forecast.learn(10, 1.0, busy=True)
    with forecast.batch(10), forecast.batch(10):
        clock.now += 1.0
        assert forecast.until_done(0) == pytest.approx(1.0)
        forecast.learn(10, 2.0, busy=True)
    assert forecast.seconds(10) == pytest.approx(1.0)


def test_a_small_batch_does_not_make_the_engine_look_slow() -> None:
    forecast = Forecast()
    forecast.learn(10, 1.0, busy=True)
    forecast.learn(1, 0.8, busy=False)
    assert forecast.seconds(10) == pytest.approx(1.0)


def test_what_ends_beside_others_does_not_make_the_engine_look_fast() -> None:
    forecast = Forecast()
    forecast.learn(10, 1.0, busy=True)
    with forecast.batch(10), forecast.batch(10):
        forecast.learn(10, 1.0, busy=False)
    assert forecast.seconds(10) == pytest.approx(1.0)


def test_a_forecast_that_is_too_long_is_corrected_by_what_runs_alone() -> None:
    forecast = Forecast()
    forecast.learn(10, 60.0, busy=True)
    for _ in range(20):
        forecast.learn(10, 1.0, busy=False)
    assert forecast.seconds(10) < 2.0
