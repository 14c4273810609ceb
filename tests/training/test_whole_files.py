"""A file of a run is never half written."""

import os
from pathlib import Path

import pytest

from training.whole_files import write_whole


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "data.txt"
    write_whole(path, "old\n")
    write_whole(path, "né")
    assert path.read_bytes() == "né".encode()
    assert [one.name for one in tmp_path.iterdir()] == ["data.txt"]


def test_a_kill_before_the_end_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data.txt"
    write_whole(path, "old")

    def killed(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, "new")
    assert path.read_text(encoding="utf-8") == "old"
