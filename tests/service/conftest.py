"""Fixtures of several modules here."""

from collections.abc import Sequence
from typing import Any

import pytest

from service.engines import LocalEngine
from tests.service.gate import Gate


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
