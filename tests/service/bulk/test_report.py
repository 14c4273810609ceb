"""Progress as text and as a bar: share, rate and time left, also after an earlier run has done a part."""

import io
import sys
from types import SimpleNamespace

import pytest

from service.bulk import report
from service.bulk.report import LINE_SECONDS, Report


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that the test sets, in seconds."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(report, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_a_first_run(clock: SimpleNamespace) -> None:
    with Report("ingest") as shown:
        clock.now += 20
        shown.advance(1000, 0.25)
        assert shown.line(4000) == "ingest: 1,000 notes (25%), 50 a second, 0:01:00 left"
        assert shown.line(None) == "ingest: 1,000 notes, 50 a second"
        clock.now += 3600
        assert shown.line(1000) == "ingest: 1,000 notes (100%), 0 a second, 0:00:00 left"


def test_a_run_that_goes_on(clock: SimpleNamespace) -> None:
    """Rows of earlier runs do not count for the rate of this run."""
    with Report("import", 3000) as shown:
        assert shown.line(6000) == "import: 3,000 notes (50%), 0 a second"
        clock.now += 10
        shown.advance(1000, 0.5)
        assert shown.line(8000) == "import: 4,000 notes (50%), 100 a second, 0:00:40 left"


def test_hours_are_told(clock: SimpleNamespace) -> None:
    with Report("ingest") as shown:
        clock.now += 1
        shown.advance(100, 0.01)
        assert shown.line(100 + 100 * (2 * 3600 + 3 * 60 + 4)).endswith(", 2:03:04 left")


def test_a_line_comes_now_and_then(clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    with Report("ingest") as shown:
        for _ in range(10):
            clock.now += LINE_SECONDS / 4
            shown.advance(50, 0.5)
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "ingest: 200 notes (50%), 20 a second, 0:00:10 left",
        "ingest: 400 notes (50%), 20 a second, 0:00:20 left",
    ]


class Terminal(io.StringIO):
    """A standard error that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("done", [0, 40], ids=["first", "goes on"])
def test_a_terminal_has_a_bar(done: int, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Report("ingest", done) as shown:
        shown.advance(10, (done + 10) / 100)
    last = terminal.getvalue().rstrip("\n").rpartition("\r")[2]
    assert last.startswith("ingest: ")
    assert f"{done + 10}/100" in last
    assert " notes/s" in last or "s/ notes" in last
    assert "<" in last, "the time left"
