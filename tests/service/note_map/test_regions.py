"""The names of regions."""

import numpy as np

from service.note_map.regions import name_regions

POSITIONS = np.array([[0, 0]] * 4 + [[1, 1]] * 5, dtype=np.float32)
REGIONS = np.array([0] * 4 + [1] * 5, dtype=np.int32)


def test_a_region_is_named_by_what_is_rare_elsewhere() -> None:
    words = [("common", "brew")] * 4 + [("common", "qubit")] * 5
    found = name_regions(POSITIONS, REGIONS, words)
    assert [(one.name, one.notes, one.x, one.y) for one in found] == [("qubit", 5, 1, 1), ("brew", 4, 0, 0)]


def test_what_few_notes_have_names_nothing() -> None:
    words = [("odd",), ("odd",), ("all",), ("all",)] + [("all",)] * 5
    assert [one.name for one in name_regions(POSITIONS, REGIONS, words)] == ["all"]
    assert name_regions(POSITIONS, REGIONS, [()] * 9) == []


def test_a_name_occurs_once() -> None:
    positions = np.repeat(np.arange(3, dtype=np.float32), 4)[:, None].repeat(2, axis=1)
    regions = np.repeat(np.arange(3, dtype=np.int32), 4)
    found = name_regions(positions, regions, [("brew",)] * 8 + [("other",)] * 4)
    assert sorted(one.name for one in found) == ["brew", "other"]


def test_no_notes_have_no_regions() -> None:
    assert name_regions(np.zeros((0, 2), dtype=np.float32), np.zeros(0, dtype=np.int32), []) == []
