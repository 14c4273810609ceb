"""What is made of measurements; the measuring itself is `make bench`."""

import itertools
from typing import Any

import pytest

from benchmarks import hashtags, mixed
from benchmarks.hashtags import Cell, fastest
from benchmarks.suggesters import IN_PROCESS, KINDS, REMOTE, TRANSFORMERS, note_supply

SPEED = {TRANSFORMERS: {1: 0.5, 64: 0.4}, IN_PROCESS: {1: 1.0, 64: 0.1}, REMOTE: {1: 2.0, 64: 0.2}}


@pytest.fixture
def content() -> dict[str, Any]:
    cells = [
        Cell(
            kind, concurrency, engine, [SPEED[engine][concurrency] * drift for drift in (1, 1, 4)], [1.0] * 3, [0.5] * 3
        ).__dict__
        for kind in KINDS
        for concurrency in (1, 64)
        for engine in SPEED
    ]
    return {"threads": 2, "count": 3, "cells": cells}


def test_the_fastest_engine_is_that_of_the_highest_median_rate(content: dict[str, Any]) -> None:
    cells = [Cell(**one) for one in content["cells"]]
    assert fastest(cells[:6]) == {1: TRANSFORMERS, 64: IN_PROCESS}


def test_the_table_of_engines_has_ratios_within_rounds(content: dict[str, Any]) -> None:
    content["cells"][4]["seconds_a_note"][0] *= 2
    lines = hashtags.markdown(content).splitlines()
    assert (
        "| 1 | vLLM remote | 0.50 (0.12 to 0.50) | 0.25 (0.25 to 0.25) | 1.00 (1.00 to 1.00) | 0.50 (0.50 to 0.50) |" in lines
    )
    assert any(line.startswith("| 64 | **vLLM in process** | 5.00 (2.50 to 10.00) | 4.00 (2.00 to 4.00) |") for line in lines)
    assert sum(line.startswith("**") for line in lines) == len(KINDS)


def test_figures_show_every_engine_and_system(content: dict[str, Any]) -> None:
    (figure,) = hashtags.figures(content).values()
    for axes in figure.axes:
        assert [text.get_text() for text in axes.get_legend().get_texts()] == list(SPEED)
    (figure,) = mixed.figures(MIXED).values()
    assert [[round(bar.get_height(), 3) for bar in axes.patches] for axes in figure.axes] == [[8, 4, 6, 3], [2, 1, 4, 1]]


MIXED: dict[str, Any] = {
    "threads": 2, "rounds": 3, "seconds": 8.0, "clients": {"embed": 4, "generate": 8},
    "notes a request": {"embed": 4, "generate": 1}, "count": 3, "memory": {mixed.ONE: 1536 * 2**20, mixed.TWO: 3072 * 2**20},
    "rates": {
        mixed.ONE: {
            "embedding alone": {"embed": [8.0, 4.0, 8.0]}, "hashtags alone": {"generate": [2.0, 2.0, 2.0]},
            "both": {"embed": [4.0, 3.0, 4.0], "generate": [1.0, 1.0, 0.5]},
        },
        mixed.TWO: {
            "embedding alone": {"embed": [6.0] * 3}, "hashtags alone": {"generate": [4.0] * 3},
            "both": {"embed": [3.0] * 3, "generate": [1.0] * 3},
        },
    },
}  # fmt: skip


def test_the_table_of_mixed_traffic_has_shares_within_rounds() -> None:
    one = next(line for line in mixed.markdown(MIXED).splitlines() if line.startswith(f"| {mixed.ONE}"))
    cells = [cell.strip() for cell in one.strip("|").split("|")]
    assert cells[1:4] == ["8.00 (4.00 to 8.00)", "4.00 (3.00 to 4.00)", "0.50 (0.50 to 0.75)"]
    assert cells[4:] == ["2.00 (2.00 to 2.00)", "1.00 (0.50 to 1.00)", "0.50 (0.25 to 0.50)", "1536"]


def test_notes_come_once_before_they_come_again() -> None:
    first = [note.id for note in itertools.islice(note_supply(), 2246)]
    assert len(set(first)) == 2246
    assert len({note.category for note in itertools.islice(note_supply(), 3)}) > 1
