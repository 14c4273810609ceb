"""An index of each kind."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.index import NoteIndex
from tests.service.index_backends import BACKENDS, open_index


@pytest.fixture(params=BACKENDS)
async def index(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[NoteIndex]:
    async with open_index(request.param, tmp_path) as opened:
        yield opened
