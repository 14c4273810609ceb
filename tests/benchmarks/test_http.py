import json
from itertools import pairwise
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from benchmarks import http, startup
from benchmarks.load import Answer, Outcome, percentile, poisson_arrivals
from benchmarks.measure import Content
from benchmarks.served import embed_bodies
from notellm import Note


def test_percentiles_are_values_that_were_seen() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert [percentile(values, percent) for percent in (50, 95, 99, 100)] == [50, 95, 99, 100]
    assert percentile([3.0], 1) == percentile([3.0], 99) == 3.0


def test_poisson_arrivals_have_their_rate_and_their_spread() -> None:
    arrivals = poisson_arrivals(rate=50, seconds=100, seed=7)
    assert arrivals == sorted(arrivals)
    assert arrivals[-1] < 100
    assert 4700 <= len(arrivals) <= 5300  # more than four standard deviations
    gaps = [later - earlier for earlier, later in pairwise(arrivals)]
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    assert variance**0.5 == pytest.approx(mean, rel=0.1)  # of an even stream it would be 0


def test_poisson_arrivals_are_the_same_again() -> None:
    assert poisson_arrivals(5, 10, seed=1) == poisson_arrivals(5, 10, seed=1) != poisson_arrivals(5, 10, seed=2)


def test_goodput_counts_what_came_in_time_and_in_the_window() -> None:
    answers = [
        Answer(0.0, 0.5, 200, None),  # before the window
        Answer(0.6, 0.5, 200, None),
        Answer(1.0, 1.9, 200, None),
        Answer(1.0, 2.1, 200, None),  # too late
        Answer(1.5, 0.1, 429, 1),
        Answer(2.0, 1.5, 200, None),  # behind the window
    ]
    outcome = Outcome(4.0, 0.0, answers)
    assert outcome.goodput(deadline=2, begin=1, end=3) == 1.0
    assert [outcome.count(status) for status in (200, 429, 504)] == [5, 1, 0]


def test_every_note_is_in_one_request() -> None:
    notes = [Note(id=f"n{number}", title="a title", version=3) for number in range(5)]
    bodies = [json.loads(body) for body in embed_bodies(notes, 2)]
    assert [note["id"] for body in bodies for note in body["notes"]] == [note.id for note in notes]
    assert [len(body["notes"]) for body in bodies] == [2, 2, 1]
    assert not any(body["store"] for body in bodies)


def flood(goodput: float, refused: int) -> Content:
    return {
        "arrivals": 40, "counts": {"200": 10, "429": refused, "504": 1}, "other": 0, "goodput": goodput, "p50": 1.0, "p99": 4.0,
        "no_retry_after": 0, "refusal_p99": 0.01, "loop_share": 0.05, "client_share": 0.01,
    }  # fmt: skip


CONTENT: Content = {
    "tokens": 100.0,
    "threads": 2,
    "idle": {
        "http": [0.103, 0.105, 0.2], "bare": [0.1, 0.102, 0.3], "loop_cpu": 0.001, "added": 0.003,
        "parts": {"request": 0.104, "queue": 0.0005, "batch": 0.1},
    },
    "saturation": {
        "notes": 96, "seconds": {"bare": [9.6, 8.0], "several": [10.0, 8.0], "single": [12.0, 10.0]}, "loop_cpu": 0.002,
        "client_cpu": 0.0003, "other_cpu": 0.2, "several": 16, "several_clients": 4, "single_clients": 32,
    },
    "latencies": [
        {"clients": clients, "requests": 99, "notes_per_second": 9.5, "p50": 0.1 * clients, "p95": 0.2 * clients, "p99": 0.3 * clients}
        for clients in (1, 8)
    ],
    "overload": {"capacity": 9.0, "deadline": 5, "rounds": {"1": [flood(8.0, 0), flood(9.0, 1)], "4": [flood(8.8, 70), flood(8.1, 80)]}},
}  # fmt: skip


def test_the_report_says_what_was_measured() -> None:
    text = http.markdown(CONTENT)
    assert "HTTP and queue add **3.0 ms**" in text
    assert "| HTTP, one note per request, 32 clients | 8.80 (8.00 to 9.60) | 0.80 (0.80 to 0.80) |" in text
    assert "| 8 | 99 | 800.0 ms | 1600.0 ms | 2400.0 ms | 9.50 |" in text
    assert "at 4× it is **1.00 (0.90 to 1.10)** of the goodput at 1×" in text
    assert "| 4× | 8.45 (8.10 to 8.80) | 20 | 150 | 2 | 0 |" in text


def test_the_plots_are_made(tmp_path: Path) -> None:
    figures = http.figures(CONTENT) | startup.figures(STARTS)
    assert sorted(figures) == ["http-latency", "http-overload", "startup"]
    for name, figure in figures.items():
        assert isinstance(figure, Figure)
        figure.savefig(tmp_path / f"{name}.png")


STARTS: Content = {
    "ready": [8.0, 7.0, 9.0],
    "megabytes": 540.0,
    "phases": [
        {"interpreter": 0.1, "imports": 6.0},
        {"interpreter": 0.1, "imports": 4.0},
        {"interpreter": 0.1, "imports": 5.0},
    ],
}


def test_the_report_of_the_start_names_what_takes_longest() -> None:
    text = startup.markdown(STARTS)
    assert "**8.0 (7.0 to 9.0) s**" in text
    assert "Most of the time goes into: imports" in text
    assert "| imports | 5.00 | 98% |" in text
