"""A shard opens again after a kill between its segments and its configuration."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import qdrant_edge as edge

from service.errors import StartupError
from service.index.edge.files import align_config, load_shard

Change = Callable[[edge.EdgeShard], None]
NOTE = "00000000-0000-0000-0000-000000000001"


def add(shard: edge.EdgeShard) -> None:
    shard.update(edge.UpdateOperation.create_dense_vector("third", 2, edge.Distance.Cosine))


def drop(shard: edge.EdgeShard) -> None:
    shard.update(edge.UpdateOperation.delete_vector_name("second"))


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    path = tmp_path / "shard"
    opened = load_shard(path, "first", 4)
    opened.update(edge.UpdateOperation.create_dense_vector("second", 3, edge.Distance.Cosine))
    point = edge.Point(id=NOTE, vector={"first": [1.0, 0, 0, 0], "second": [1.0, 0, 0]}, payload={"id": "a"})
    opened.update(edge.UpdateOperation.upsert_points([point]))
    opened.flush()
    opened.close()
    return path


def interrupted(path: Path, change: Change) -> None:
    """The segments are changed, and the configuration is the one from before."""
    before = (path / "edge_config.json").read_bytes()
    opened = edge.EdgeShard.load(str(path))
    change(opened)
    opened.flush()
    opened.close()
    assert (path / "edge_config.json").read_bytes() != before
    (path / "edge_config.json").write_bytes(before)


@pytest.mark.parametrize(("change", "left"), [(add, {"first", "second", "third"}), (drop, {"first"})])
def test_a_shard_opens_after_a_kill_while_vectors_are_added_or_dropped(shard: Path, change: Change, left: set[str]) -> None:
    interrupted(shard, change)
    with pytest.raises(BaseException, match="Incompatible configs"):  # what the library itself does
        edge.EdgeShard.load(str(shard))
    opened = load_shard(shard, "first", 4)
    (record,) = opened.retrieve([NOTE], True, True)
    assert record.payload == {"id": "a"}
    assert set(record.vector) == left - {"third"}  # type: ignore[arg-type]
    opened.close()
    assert set(json.loads((shard / "edge_config.json").read_text())["vectors"]) == left
    load_shard(shard, "first", 4).close()


def test_a_shard_that_is_whole_is_left_alone(shard: Path) -> None:
    before = (shard / "edge_config.json").read_bytes()
    align_config(shard)
    assert (shard / "edge_config.json").read_bytes() == before


@pytest.mark.parametrize("content", ["", '{"vectors": 3}'])
def test_a_damaged_configuration_is_refused_by_the_library(shard: Path, content: str) -> None:
    (shard / "edge_config.json").write_text(content)
    with pytest.raises(StartupError, match="cannot be opened"):
        load_shard(shard, "first", 4)
    assert (shard / "edge_config.json").read_text() == content
