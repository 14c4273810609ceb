"""When a map is drawn, and what is shown meanwhile."""

import asyncio
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from service.caller import Caller, caller
from service.errors import IndexUnavailable
from service.note_map.drawing import MapFailed, MapProcess
from service.note_map.note_map import NoteMap
from service.notes import NoteArchive
from tests.service.note_map.archives import archive_of, stored


class Pens(MapProcess):
    """Places notes at once, or when the test says so, or fails."""

    def __init__(self) -> None:
        self.drawn: list[int] = []
        self.go = asyncio.Event()
        self.go.set()
        self.error: Exception | None = None

    async def place(self, vectors: np.ndarray, report: Callable[[float], None]) -> tuple[np.ndarray, np.ndarray]:
        report(0.5)
        await self.go.wait()
        if self.error:
            raise self.error
        self.drawn.append(len(vectors))
        return np.zeros((len(vectors), 2), dtype=np.float32), np.zeros(len(vectors), dtype=np.int32)


async def finished(note_map: NoteMap) -> None:
    if note_map._drawing is not None:
        await note_map._drawing


async def test_it_is_drawn_when_somebody_asks_and_again_when_enough_has_changed(tmp_path: Path) -> None:
    pens = Pens()
    async with archive_of(tmp_path, stored(40)) as archive:
        note_map = NoteMap(lambda: archive, pens)
        assert note_map.status.state == "none"
        assert (await note_map.ask()).state == "drawing"
        assert (await note_map.ask()).state == "drawing"
        await finished(note_map)
        status = await note_map.ask()
        assert (status.state, status.total, status.shown, pens.drawn) == ("ready", 40, 40, [40])
        await archive._index.upsert(stored(4, first=100), seen={})
        assert (await note_map.ask()).state == "ready"
        await archive._index.upsert(stored(1, first=200), seen={})
        status = await note_map.ask()
        assert (status.state, status.total) == ("drawing", 40)  # the previous map stays
        await finished(note_map)
        assert pens.drawn == [40, 45]


async def test_an_empty_index_has_an_empty_map_until_a_note_is_stored(tmp_path: Path) -> None:
    pens = Pens()
    async with archive_of(tmp_path, []) as archive:
        note_map = NoteMap(lambda: archive, pens)
        await note_map.ask()
        await finished(note_map)
        status = await note_map.ask()
        assert (status.state, status.total) == ("ready", 0)
        await archive._index.upsert(stored(1), seen={})
        await note_map.ask()
        await finished(note_map)
    assert pens.drawn == [0, 1]


async def test_another_model_has_another_map(tmp_path: Path) -> None:
    pens = Pens()
    async with archive_of(tmp_path / "a", stored(20)) as one, archive_of(tmp_path / "b", stored(20), "m-2") as other:
        answering: NoteArchive = one
        note_map = NoteMap(lambda: answering, pens)
        await note_map.ask()
        await finished(note_map)
        answering = other
        assert (await note_map.ask()).state == "drawing"
        await finished(note_map)
        assert note_map.sheet is not None
        assert note_map.sheet.vector_name == "m-2"


@pytest.mark.parametrize("error", [MapFailed("no package"), IndexUnavailable("no server"), KeyError("a defect")])
async def test_a_failure_is_shown_and_not_repeated_by_itself(tmp_path: Path, error: Exception) -> None:
    pens = Pens()
    pens.error = error
    async with archive_of(tmp_path, stored(20)) as archive:
        note_map = NoteMap(lambda: archive, pens)
        await note_map.ask()
        await finished(note_map)
        status = await note_map.ask()
        assert status.state == "failed"
        assert status.error == ("KeyError: the log has the details" if isinstance(error, KeyError) else str(error))
        pens.error = None
        assert (await note_map.ask(again=True)).state == "drawing"
        await finished(note_map)
        assert (await note_map.ask()).state == "ready"


async def test_one_map_is_drawn_at_a_time(tmp_path: Path) -> None:
    pens = Pens()
    pens.go.clear()
    async with archive_of(tmp_path, stored(20)) as archive:
        note_map = NoteMap(lambda: archive, pens)
        statuses = await asyncio.gather(*(note_map.ask(again=True) for _ in range(5)))
        assert {status.state for status in statuses} == {"drawing"}
        pens.go.set()
        await finished(note_map)
    assert pens.drawn == [20]


async def test_a_drawing_ends_with_the_service(tmp_path: Path) -> None:
    async with archive_of(tmp_path, stored(20)) as archive:
        async with NoteMap.open(lambda: archive) as note_map:
            note_map._process = pens = Pens()
            pens.go.clear()
            await note_map.ask()
            drawing = note_map._drawing
            assert drawing is not None
        assert drawing.cancelled()


async def test_a_map_of_an_index_that_lacks_vectors_is_not_outdated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As while a migration fills them in: each new map would be outdated at once."""
    pens = Pens()
    async with archive_of(tmp_path, stored(40)) as archive:
        count = archive.count

        async def more() -> int:
            return 2 * await count()

        monkeypatch.setattr(archive, "count", more)
        note_map = NoteMap(lambda: archive, pens)
        await note_map.ask()
        await finished(note_map)
        assert (await note_map.ask()).state == "ready"


async def test_a_drawing_does_not_have_the_deadline_of_the_request_that_began_it(tmp_path: Path) -> None:
    seen: list[float] = []

    class Looking(Pens):
        async def place(self, vectors: np.ndarray, report: Callable[[float], None]) -> tuple[np.ndarray, np.ndarray]:
            seen.append(caller.get().deadline)
            return await super().place(vectors, report)

    async with archive_of(tmp_path, stored(20)) as archive:
        note_map = NoteMap(lambda: archive, Looking())
        token = caller.set(Caller(deadline=1.0))
        await note_map.ask()
        caller.reset(token)
        await finished(note_map)
    assert seen == [math.inf]
