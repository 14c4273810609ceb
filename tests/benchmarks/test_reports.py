"""What benchmarks make of what they measure, and the cheap ones run for real on the tiny model."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks import encoders, encoders_avx2, growth, memory, steps, suggestions, token_vectors
from benchmarks.measure import Spread, alternate, ratios, take_turns
from benchmarks.report import write_report
from benchmarks.speed import SECTIONS, section


def test_ways_take_turns_and_begin_rounds_in_turn() -> None:
    called: list[str] = []

    def call(name: str) -> float:
        called.append(name)
        return len(called)

    ways = {name: partial(call, name) for name in ("a", "b", "c")}
    measured = take_turns(ways, 3)
    assert "".join(called) == "abcbcacab"
    assert measured == {"a": [1, 6, 8], "b": [2, 4, 9], "c": [3, 5, 7]}
    assert all(len(taken) == 2 for taken in alternate(ways, 2).values())


def test_ratios_are_those_within_a_round() -> None:
    assert ratios([2, 40, 3], [1, 10, 3]) == Spread(2, 1, 4)
    assert Spread.of([3, 1, 2]).text(1, "×") == "2.0× (1.0 to 3.0)"


def test_every_section_has_what_the_report_needs() -> None:
    for name in SECTIONS:
        found = section(name)
        assert found.TITLE
        assert callable(found.measure)
        assert callable(found.markdown)
        assert callable(found.figures)


def test_a_longer_note_costs_more(tiny_path: Path) -> None:
    content = json.loads(json.dumps(growth.measure(tiny_path, quick=True)))
    lines = growth.markdown(content).splitlines()
    assert [line.split("|")[1].strip() for line in lines[-5:]] == ["10", "40", "80", "160", "320"]
    assert list(growth.figures(content)) == ["growth"]


def test_steps_give_the_same_vectors(tiny_path: Path) -> None:
    content = json.loads(json.dumps(steps.measure(tiny_path, quick=True)))
    rows = steps.markdown(content).splitlines()[4:]
    assert len(rows) == steps.STEPS + len(steps.OTHER_BUDGETS)
    assert "| 1.00×" in rows[0]
    assert list(steps.figures(content)) == ["steps"]


def test_token_vectors_are_compared_with_none(tiny_path: Path) -> None:
    content = json.loads(json.dumps(token_vectors.measure(tiny_path, quick=True)))
    rows = token_vectors.markdown(content).splitlines()[4:]
    assert len(rows) == len(content["workloads"])
    assert all(len(row.split("|")) == 6 and "×" in row.split("|")[4] for row in rows)


def test_suggestions_are_compared_round_by_round() -> None:
    ways = (suggestions.PEER, suggestions.SUGGEST, suggestions.EMBED, suggestions.TWO, suggestions.ONE)
    seconds = {way: [2.0 * factor, factor] for way, factor in zip(ways, (8, 4, 1, 5, 3), strict=True)}
    cells = [{"notes": "captions", "at_once": 16, "seconds": seconds}]
    *_, row = suggestions.markdown({"threads": 2, "count": 3, "stored": 2246, "cells": cells}).splitlines()
    assert row == (
        "| captions | 16 | 3.00 (2.00 to 4.00) | 12.00 (8.00 to 16.00) | 2.00 (2.00 to 2.00) | 4.00 (4.00 to 4.00) "
        "| 0.60 (0.60 to 0.60) |"
    )


def test_growth_of_memory_counts_from_when_it_is_warm() -> None:
    samples = [(0, 50), (100, 90), (200, 100), (600, 104), (1000, 102)]
    assert memory.growth(samples) == pytest.approx(0.04)
    assert "differ by 4.0%" in memory.markdown({"samples": samples})


def test_a_way_with_other_vectors_stops_the_comparison() -> None:
    def way(value: float) -> encoders.Way:
        return lambda: (1.0, np.full((1, 2), value, dtype=np.float32))

    assert encoders._compare({encoders.OURS: way(1), "peer": way(1)}, rounds=2)["seconds"]["peer"] == [1, 1]
    with pytest.raises(ValueError, match=r"do not give our vectors.*peer"):
        encoders._compare({encoders.OURS: way(1), "peer": way(1.1)}, rounds=2)


def test_the_report_has_the_sections_that_were_measured(tmp_path: Path) -> None:
    workload = {
        "prompts": 10, "tokens": 50.0, "settings": {encoders.OURS: 512}, "operations": 5e9, "peak": [1e11, 1e11],
        "seconds": {encoders.OURS: [0.1, 0.2], "peer": [0.2, 0.6]}, "differences": {},
    }  # fmt: skip
    content = {"threads": 2, "prefix": 28, "missing": ["infinity: not installed"], "workloads": {"a": workload, "b": workload}}
    facts = {"processor": "one", "cores": 2, "python": "3.11", "commit": "abc", "date": "2026-01-01"}
    (tmp_path / "encoders.json").write_text(json.dumps({"machine": facts, "quick": True, "content": content}))
    report = write_report(tmp_path, {name: section(name) for name in SECTIONS}).read_text()
    assert "| peer |  | 33.3 (16.7 to 50.0) | 2.50× (2.00 to 3.00) |" in report
    assert "runs at 38% (25% to 50%) of the float32 matrix peak of 100 GFLOP/s" in report
    assert "its figures are worth nothing" in report
    assert "Not measured: infinity" in report
    assert f"## {encoders_avx2.TITLE}" not in report
    assert (tmp_path / "embedding.png").stat().st_size > 1000
