"""The stored notes that vote on hashtags."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from notellm.evidence import NEIGHBOURS
from service.errors import IndexUnavailable, InvalidRequest, ServiceError
from service.index import EdgeIndex, ScoredNote
from service.notes.voters import Voters
from service.observability import Metrics
from service.queueing import SearchLimit
from tests.service.index.backends import DIMENSIONS, NOTES, vector

Parts = tuple[Voters, EdgeIndex, SearchLimit, Metrics]


@pytest_asyncio.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    """Voters over a few stored notes, with room for one search."""
    index, metrics = EdgeIndex.open(tmp_path / "index", vector_name="m-1", dimensions=DIMENSIONS), Metrics()
    await index.upsert(NOTES)
    searches = SearchLimit(1, metrics)
    yield Voters(index, metrics, searches), index, searches, metrics
    await index.close()


async def test_the_nearest_to_each_vector_and_each_search_is_counted(parts: Parts) -> None:
    voters, _, _, metrics = parts
    found = await voters.near([vector(3), vector(7)])
    assert [near[0].id for near in found] == ["n3", "n7"]
    assert [len(near) for near in found] == [min(2 * NEIGHBOURS, len(NOTES))] * 2
    assert metrics.registry.get_sample_value("notellm_index_seconds_count", {"operation": "search"}) == 2


async def test_where_there_is_no_room_nobody_votes(parts: Parts) -> None:
    voters, _, searches, _ = parts
    with searches.place():
        assert await voters.near([vector(3)]) == []
    assert len(await voters.near([vector(3)])) == 1


@pytest.mark.parametrize("error", [IndexUnavailable("x"), InvalidRequest.of("model", "another_model", "x")])
async def test_where_the_index_fails_nobody_votes(error: ServiceError, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    voters, index, _, _ = parts

    async def failing(*_arguments: object, **_options: object) -> list[ScoredNote]:
        raise error

    monkeypatch.setattr(index, "search", failing)
    assert await voters.near([vector(3)]) == []


async def test_what_is_stored_under_its_own_id_has_no_vote_for_a_note(parts: Parts) -> None:
    found = await parts[0].near([vector(3), vector(7)], ["n3", "new"])
    assert "n3" not in {note.id for note in found[0]}
    assert [near[0].id for near in found] != ["n3", "n7"]
    assert found[1][0].id == "n7"
