"""Targets and what is left out, against the definition, cell by cell."""

import random

import numpy as np
import pytest
import torch

from training.batches.contrast import Contrast, Contrasts
from training.batches.examples import Asked, GlobalBatch
from training.data import Cooccurrences

KNOWN = {"ae": 4.0, "bf": 1.0, "ab": 9.0, "cd": 16.0, "az": 5.0}
BATCH = GlobalBatch(
    (Asked("a", "category"), Asked("b", "none"), Asked("c", "category"), Asked("d", "none")),
    (Asked("e", "hashtags", ("x",)), Asked("f", "category"), Asked("g", "none"), Asked("h", "none")),
)
NOTES = "abcdefgh"


def cooccurring(scores: dict[str, float], notes: str) -> Cooccurrences:
    """Co-occurrences of notes with ids of one letter."""
    places = [sorted(map(notes.index, pair)) for pair in scores]
    return Cooccurrences(
        tuple(notes),
        np.array([first for first, _ in places], np.int64),
        np.array([second for _, second in places], np.int64),
        np.array(list(scores.values())),
    )


def contrasts(**settings: object) -> Contrasts:
    return Contrasts(cooccurring(KNOWN, NOTES + "z"), **settings)  # type: ignore[arg-type]


def cells(matrix: torch.Tensor, rows: str = NOTES, columns: str = NOTES) -> dict[str, float]:
    return {rows[row] + columns[column]: float(matrix[row, column]) for row, column in matrix.nonzero().tolist()}


def test_a_note_finds_its_partner_and_other_cooccurring_notes_are_left_out() -> None:
    contrast = contrasts()(BATCH, 0, 1)
    assert cells(contrast.targets) == dict.fromkeys(("ae", "bf", "cg", "dh", "ea", "fb", "gc", "hd"), 1.0)
    assert set(cells(contrast.left_out)) == {2 * note for note in NOTES} | {"ab", "ba", "cd", "dc"}
    assert float(contrast.rows) == 8


def test_a_note_finds_all_cooccurring_notes_in_proportion_to_a_power_of_their_scores() -> None:
    contrast = contrasts(targets="cooccurrences")(BATCH, 0, 1)
    assert cells(contrast.targets) == pytest.approx({
        "ae": 2 / 5, "ab": 3 / 5, "ba": 3 / 4, "bf": 1 / 4, "ea": 1, "fb": 1,
        # c-g and d-h were not kept, so they count as the least score that is known.
        "cd": 4 / 5, "cg": 1 / 5, "dc": 4 / 5, "dh": 1 / 5, "gc": 1, "hd": 1,
    })  # fmt: skip
    assert set(cells(contrast.left_out)) == {2 * note for note in NOTES}
    assert contrast.targets.dtype == torch.float32


@pytest.mark.parametrize(("power", "expected"), [(0, 1 / 2), (1, 9 / 13), (2, 81 / 97)])
def test_the_power_is_a_setting(power: float, expected: float) -> None:
    targets = cells(contrasts(targets="cooccurrences", power=power)(BATCH, 0, 1).targets)
    assert targets["ab"] == pytest.approx(expected)
    assert targets.keys() == cells(contrasts(targets="cooccurrences")(BATCH, 0, 1).targets).keys()


def test_hashtag_prompts_are_neither_rows_nor_columns() -> None:
    contrast = contrasts(hashtag_prompts=False)(BATCH, 0, 1)
    assert set(cells(contrast.targets)) == {"bf", "cg", "dh", "fb", "gc", "hd"}  # nothing is left for a to find
    assert all(note + "e" in cells(contrast.left_out) for note in NOTES)
    assert float(contrast.rows) == 6
    soft = contrasts(hashtag_prompts=False, targets="cooccurrences")(BATCH, 0, 1)
    assert "ea" not in cells(soft.targets)
    assert cells(soft.targets)["ab"] == 1  # the rest of the distribution
    assert float(soft.rows) == 7


def test_remembered_notes_are_columns_too() -> None:
    soft = contrasts(targets="cooccurrences")(BATCH, 0, 1, ["z"])
    assert soft.targets.shape == soft.left_out.shape == (8, 9)
    assert cells(soft.targets, columns=NOTES + "z")["az"] == pytest.approx(5**0.5 / (2 + 3 + 5**0.5))
    assert not soft.left_out[:, 8].any()
    hard = contrasts()(BATCH, 0, 1, ["z"])
    assert cells(hard.targets) == cells(contrasts()(BATCH, 0, 1).targets)
    assert set(cells(hard.left_out, columns=NOTES + "z")) - set(cells(contrasts()(BATCH, 0, 1).left_out)) == {"az"}


def test_a_row_counts_if_only_a_remembered_note_is_left_to_find() -> None:
    make = contrasts(hashtag_prompts=False)
    soft = contrasts(hashtag_prompts=False, targets="cooccurrences")
    assert float(make(BATCH, 0, 1, ["z"]).rows) == float(make(BATCH, 0, 1).rows) == 6  # a has only its partner to find
    alone = GlobalBatch((Asked("a", "category"), Asked("b", "none")), (Asked("e", "hashtags", ("x",)), Asked("f", "category")))
    known = Contrasts(cooccurring({"ae": 1.0, "az": 1.0}, NOTES + "z"), hashtag_prompts=False, targets="cooccurrences")
    assert float(known(alone, 0, 1).rows) == 2
    assert float(known(alone, 0, 1, ["z"]).rows) == 3
    assert float(soft(BATCH, 0, 1, ["z"]).rows) == 7


@pytest.mark.parametrize("targets", ["one_hot", "cooccurrences"])
def test_notes_of_other_groups_are_left_out(targets: str) -> None:
    groups = {note: "one" if note in "abef" else None for note in NOTES} | {"z": "one"}
    whole = contrasts(targets=targets)(BATCH, 0, 1, "z")
    grouped = contrasts(targets=targets, groups=groups)(BATCH, 0, 1, "z")
    columns = NOTES + "z"
    same = {row + column for row in NOTES for column in columns if groups[row] == groups[column]}
    everything = {row + column for row in NOTES for column in columns}
    assert set(cells(grouped.left_out, columns=columns)) == (set(cells(whole.left_out, columns=columns)) & same) | (
        everything - same
    )
    assert cells(grouped.targets, columns=columns) == cells(
        whole.targets, columns=columns
    )  # what co-occurs here is of one group
    apart = contrasts(targets=targets, groups={note: note for note in columns})(BATCH, 0, 1, "z")
    assert float(apart.rows) == 0


@pytest.mark.parametrize(("targets", "counted"), [("one_hot", {"e"}), ("cooccurrences", {"a", "e"})])
def test_a_row_without_a_negative_does_not_count(targets: str, counted: set[str]) -> None:
    groups = {note: str(NOTES.index(note) % 4) for note in NOTES} | {"z": "0"}  # each note and its partner, and z with a and e
    contrast = contrasts(targets=targets, groups=groups)(BATCH, 0, 1, "z")
    # One-hot targets leave z out for a, which co-occurs with it, so that only e is left.
    assert {NOTES[row] for row, found in enumerate(contrast.targets) if found.any()} == counted
    assert float(contrast.rows) == len(counted)


def assert_is_part(contrast: Contrast, whole: Contrast, rows: str, columns: str) -> None:
    def mine(all_cells: dict[str, float]) -> dict[str, float]:
        return {cell: value for cell, value in all_cells.items() if cell[0] in rows}

    all_columns = NOTES + columns[len(NOTES) :]
    assert cells(contrast.targets, rows, columns) == pytest.approx(mine(cells(whole.targets, columns=all_columns)))
    assert cells(contrast.left_out, rows, columns) == mine(cells(whole.left_out, columns=all_columns))
    assert contrast.rows == whole.rows


@pytest.mark.parametrize("remembered", ["", "z"])
@pytest.mark.parametrize("settings", [{}, {"targets": "cooccurrences"}, {"targets": "cooccurrences", "hashtag_prompts": False}])
def test_two_processes_have_the_rows_of_one(settings: dict[str, object], remembered: str) -> None:
    make = contrasts(**settings)
    whole, columns = make(BATCH, 0, 1, remembered), "abefcdgh" + remembered
    assert_is_part(make(BATCH, 0, 2, remembered), whole, "abef", columns)
    assert_is_part(make(BATCH, 1, 2, remembered), whole, "cdgh", columns)


def test_every_row_that_counts_is_a_distribution_over_columns_that_are_not_left_out() -> None:
    draw = random.Random(0)
    everyone = [first + second for first in NOTES for second in NOTES if first < second]
    for _ in range(20):
        known = {pair: draw.uniform(0.01, 30) for pair in draw.sample(everyone, 9)}
        contrast = Contrasts(cooccurring(known, NOTES), targets="cooccurrences", hashtag_prompts=False)(BATCH, 0, 1)
        sums = contrast.targets.sum(dim=1)
        torch.testing.assert_close(sums, (sums > 0).float())
        assert float(contrast.rows) == float(sums.round().sum())
        assert not ((contrast.targets > 0) & contrast.left_out).any()


def test_without_cooccurrences_partners_are_still_found() -> None:
    contrast = Contrasts(cooccurring({}, NOTES), targets="cooccurrences")(BATCH, 0, 1)
    assert cells(contrast.targets) == cells(contrasts()(BATCH, 0, 1).targets)
