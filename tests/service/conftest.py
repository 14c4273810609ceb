"""Fixtures of several modules here."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from service.engines import LocalEngine
from service.index import NoteIndex
from tests.service.gate import Gate
from tests.service.index_backends import BACKENDS, open_index


@pytest.fixture(params=BACKENDS)
async def index(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[NoteIndex]:
    """An empty index of each kind."""
    async with open_index(request.param, tmp_path) as opened:
        yield opened


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """The local engine does not embed before this is open."""
    held, embed = Gate(), LocalEngine.embed

    def waiting(self: LocalEngine, prompts: Sequence[Sequence[int]]) -> Any:
        held.batches.append(len(prompts))
        held.entered.set()
        assert held.open.wait(10)
        return embed(self, prompts)

    monkeypatch.setattr(LocalEngine, "embed", waiting)
    return held
