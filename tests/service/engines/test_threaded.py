"""Only the thread that embeds may keep its team of OpenMP threads; see `in_passing_thread`."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from notellm import NoteText
from service.engines import LocalEngine
from service.notes import SuggestionOptions
from service.serving import open_service
from service.settings import Settings
from tests.clock import PATIENCE_SECONDS


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> dict[str, threading.Thread]:
    """The last thread that called each method of the engine, by the method's name."""
    seen: dict[str, threading.Thread] = {}

    def record(name: str) -> None:
        method = getattr(LocalEngine, name)

        def recorded(self: LocalEngine, *arguments: Any, **named: Any) -> Any:
            seen[name] = threading.current_thread()
            return method(self, *arguments, **named)

        monkeypatch.setattr(LocalEngine, name, recorded)

    for name in ("__init__", "embed", "generate", "rank"):
        record(name)
    return seen


async def test_every_thread_that_computes_ends_but_the_one_that_embeds(
    threads: dict[str, threading.Thread], settings_for: Callable[..., Settings]
) -> None:
    async with open_service(settings_for()) as running:
        note = NoteText(title="Cold brew tastes sour")
        for _ in range(2):
            await running.served.notes.embed_texts([note])
            await running.served.notes.suggest([note], SuggestionOptions(2, category=True))
        embedding = threads.pop("embed")
        assert {"__init__", "generate"} <= set(threads)
        for thread in threads.values():
            thread.join(PATIENCE_SECONDS)
        assert not any(thread.is_alive() for thread in threads.values())
        assert embedding.is_alive()
