"""Files that a power cut finds whole: what is in them is on the disk before their name is, and the name before the call returns."""

from pathlib import Path

import pytest

from service.durable_files import make_directory, open_durably, replace_durably, sync, sync_tree
from tests.service.disk_log import log_disk


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return log_disk(monkeypatch)


def test_a_file_is_synced_before_it_has_its_name_and_the_name_afterwards(tmp_path: Path, log: list[str]) -> None:
    path = tmp_path / "notes.json"
    replace_durably(path, "sour ☕")
    assert log == ["sync notes.json.partial", "rename notes.json.partial to notes.json", f"sync {tmp_path.name}"]
    assert path.read_text(encoding="utf-8") == "sour ☕"
    replace_durably(path, "sweet")
    assert path.read_text(encoding="utf-8") == "sweet"
    assert list(tmp_path.iterdir()) == [path]


def test_an_older_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    replace_durably(path, "old")
    with open_durably(path) as stream:
        stream.write(b"new, ")
        stream.flush()
        assert path.read_bytes() == b"old"
        stream.write(b"and whole")
    assert path.read_bytes() == b"new, and whole"


def _write_half(path: Path) -> None:
    with open_durably(path) as stream:
        stream.write(b"ne")
        raise ValueError("half way")


@pytest.mark.parametrize("older", [True, False])
def test_a_file_that_is_not_written_to_its_end_leaves_nothing(tmp_path: Path, *, older: bool) -> None:
    path = tmp_path / "notes.jsonl"
    if older:
        replace_durably(path, "old")
    with pytest.raises(ValueError, match="half way"):
        _write_half(path)
    assert [found.read_text(encoding="utf-8") for found in tmp_path.iterdir()] == (["old"] if older else [])


def test_files_whose_names_differ_only_at_the_end_are_written_at_the_same_time(tmp_path: Path) -> None:
    with open_durably(tmp_path / "notes.json") as first, open_durably(tmp_path / "notes.csv") as second:
        first.write(b"{}")
        second.write(b"id,title")
    assert (tmp_path / "notes.json").read_bytes() == b"{}"
    assert (tmp_path / "notes.csv").read_bytes() == b"id,title"


def test_a_new_directory_is_on_the_disk_with_those_above_it(tmp_path: Path, log: list[str]) -> None:
    make_directory(tmp_path / "data" / "index")
    assert set(log) == {f"sync {tmp_path.name}", "sync data"}
    log.clear()
    make_directory(tmp_path / "data" / "index")
    assert log == []


def test_all_that_lies_in_a_directory_is_synced(tmp_path: Path, log: list[str]) -> None:
    (tmp_path / "shard" / "wal").mkdir(parents=True)
    (tmp_path / "shard" / "config").touch()
    (tmp_path / "shard" / "wal" / "first").touch()
    sync_tree(tmp_path / "shard")
    assert sorted(log) == ["sync config", "sync first", "sync shard", "sync wal"]


def test_what_is_not_there_cannot_be_synced(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "none")
