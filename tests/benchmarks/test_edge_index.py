"""The benchmark of the embedded index, on few notes: its figures are there, and a scan finds every neighbour."""

from pathlib import Path

import pytest

from benchmarks import edge_index

NOTES = 2_000
SPREAD = {"p50", "p99", "max"}
# What the system may let a process wait between a call and the next tick.
SLACK_MS = 25


@pytest.mark.parametrize("optimized", [False, True], ids=["scan", "graph"])
async def test_an_index_of_few_notes_is_measured(optimized: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_index, "QUERIES", 50)
    figures = await edge_index.measure(tmp_path / "index", NOTES, optimized=optimized)
    assert (figures["notes"], figures["dimensions"]) == (NOTES, 128)
    assert figures["recall@10"] == figures["filtered recall@10"] == 1.0, "so few are scanned, with a graph, too"
    for name in ("query", "filtered query", "write of 64 notes"):
        assert set(figures[name]) == {"call", "stall", "processor"}
        assert set(figures[name]["call"]) == set(figures[name]["stall"]) == SPREAD
        call, stall = figures[name]["call"], figures[name]["stall"]
        assert 0 < call["p50"] <= call["p99"] <= call["max"]
        assert stall["p50"] <= stall["p99"] <= stall["max"] <= call["max"] + SLACK_MS, (
            "nothing but a call holds the event loop up"
        )
    assert figures["disk MiB"] > 0
    assert figures["peak MiB"] > 0
    assert set(figures["memory MiB"]) == {"RssAnon", "RssFile"}
    assert {"fill seconds", "open seconds"} <= set(figures)
    assert ("graph" in figures) is optimized
    if optimized:
        assert figures["graph"]["notes"] == NOTES
        assert set(figures["graph"]) == {
            "m", "ef_construct", "threads", "notes", "build seconds", "build peak MiB", "disk MiB before",
        }  # fmt: skip


async def test_an_index_that_is_there_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_index, "QUERIES", 50)
    first = await edge_index.measure(tmp_path / "index", NOTES, optimized=False)
    again = await edge_index.measure(tmp_path / "index", NOTES, optimized=False)
    assert again["fill seconds"] == first["fill seconds"]
    assert again["recall@10"] == first["recall@10"] == 1.0
