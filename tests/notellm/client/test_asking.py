from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from notellm.client import AsyncNoteClient, NoteClient
from notellm.client.asking import Manner, neighbours_of, progress_bar
from notellm.client.problems import ClientError


@pytest.mark.parametrize("wrong", [{"in_flight": 0}, {"timeout": 0}, {"timeout": float("nan")}])
def test_settings_that_cannot_work_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be at least 1 and above 0"):
        Manner(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8000",
        "localhost",
        "",
        "ftp://x",
        "http://",
        "http://x:port",
        "http://\n",
        "http://x/?a=1",
        "http://x/#a",
        "http://user:secret@x",
    ],
)
@pytest.mark.parametrize("client", [NoteClient, AsyncNoteClient])
def test_what_is_not_an_address_is_refused_at_once(client: Callable[[str], object], url: str) -> None:
    with pytest.raises(ValueError, match=r"is not (an|the) address") as raised:
        client(url)
    assert "secret" not in str(raised.value)


def test_a_time_is_sent_with_its_zone() -> None:
    wanted = neighbours_of({"created_after": datetime(2026, 1, 2, tzinfo=UTC), "limit": 3})
    assert wanted == {"created_after": "2026-01-02T00:00:00+00:00", "limit": 3}


def test_progress_needs_its_package(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(3, shown=True) as advance:
        advance(3)
    assert "3/3" in capsys.readouterr().err
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with progress_bar(3, shown=False) as advance:
        advance(3)
    with pytest.raises(ClientError, match="pip install tqdm"), progress_bar(3, shown=True):
        pass
