"""`notellm-serve map`: a file with a place for each note."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from service.bulk import map_file
from service.bulk.client import ServiceClient
from service.bulk.map_file import placed, read_all, write_map, write_parquet
from service.errors import CommandError
from service.note_map.layout import FEWEST_FOR_UMAP
from tests.service.bulk.files import note


async def test_all_notes_are_read_with_their_vectors(service: ServiceClient) -> None:
    sent = [note(number, category="x" if number else None) for number in range(120)]
    await service.post("/notes/embed", {"notes": sent})
    notes, vectors = await read_all(service)
    assert {one["id"] for one in notes} == {one["id"] for one in sent}
    assert len(vectors) == 120
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_the_file_has_the_notes_and_their_places(tmp_path: Path) -> None:
    vectors = list(np.eye(FEWEST_FOR_UMAP - 1, dtype=np.float32))
    notes: list[dict[str, Any]] = [
        {"id": f"n{number}", "title": f"Title {number}", "hashtags": ["a", "b"]} for number in range(len(vectors))
    ]
    notes[0] |= {"category": "食品", "created_at": "2026-01-01T00:00:00Z", "content": "text"}
    write_parquet(tmp_path / "map.parquet", notes, placed(vectors))
    table = pq.read_table(tmp_path / "map.parquet").to_pylist()
    assert [row["id"] for row in table] == [one["id"] for one in notes]
    assert (table[0]["category"], table[0]["content"], table[1]["category"]) == ("食品", "text", None)
    assert table[0]["hashtags"] == ["a", "b"]
    assert max(abs(row[axis]) for row in table for axis in "xy") == pytest.approx(1)


def test_an_index_of_no_notes_has_an_empty_file(tmp_path: Path) -> None:
    write_parquet(tmp_path / "map.parquet", [], placed([]))
    assert pq.read_table(tmp_path / "map.parquet").num_rows == 0


def test_a_file_that_cannot_be_written_and_a_missing_package_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandError, match=r"nowhere/map.parquet cannot be written"):
        write_parquet(tmp_path / "nowhere" / "map.parquet", [], placed([]))
    monkeypatch.setattr(map_file, "find_spec", lambda _: None)
    with pytest.raises(CommandError, match=r"umap-learn: pip install 'notellm\[map,parquet\]'"):
        write_map(tmp_path / "map.parquet")
