"""A drawn map, as the page reads it."""

import base64
import gzip
import json
from typing import Any

import numpy as np

from service.note_map.reading import MapNote, MapNotes
from service.note_map.sheet import MOST_CATEGORIES, NONE, OTHERS, Sheet, ranked_categories


def drawn(notes: list[MapNote], positions: np.ndarray[Any, Any]) -> dict[str, Any]:
    read = MapNotes("m-1", counted=len(notes) + 9, total=len(notes) + 5, notes=notes)
    sheet = Sheet.draw(read, positions.astype(np.float32), np.zeros(len(notes), dtype=np.int32))
    assert (sheet.vector_name, sheet.counted, sheet.total, sheet.shown) == ("m-1", len(notes) + 9, len(notes) + 5, len(notes))
    document: dict[str, Any] = json.loads(gzip.decompress(sheet.packed))
    return document


def note(number: int, category: str = "", hashtags: tuple[str, ...] = ()) -> MapNote:
    return MapNote(f"n{number}", f"<b>{number}</b>", category, hashtags, np.ones(2, dtype=np.float32))


def test_the_page_gets_positions_titles_and_categories() -> None:
    notes = [note(0, "tea"), note(1, "beer"), note(2, "beer"), note(3)]
    found = drawn(notes, np.array([[0, 1], [0.5, -1], [-0.25, 0], [1, 0]]))
    assert found["ids"] == ["n0", "n1", "n2", "n3"]
    assert found["titles"][0] == "<b>0</b>"
    assert np.frombuffer(base64.b64decode(found["x"]), "<f4").tolist() == [0, 0.5, -0.25, 1]
    assert np.frombuffer(base64.b64decode(found["y"]), "<f4").tolist() == [1, -1, 0, 0]
    names = [found["categories"][place] for place in base64.b64decode(found["category"])]
    assert names == ["tea", "beer", "beer", NONE]
    assert found["categories"][0] == "beer"


def test_regions_are_named_by_hashtags_and_else_by_categories() -> None:
    notes = [*[note(number, "beer", ("hops",)) for number in range(6)], *[note(number, "tea") for number in range(6, 9)]]
    sheet = Sheet.draw(
        MapNotes("m", 9, 9, notes), np.zeros((9, 2), dtype=np.float32), np.array([0] * 6 + [1] * 3, dtype=np.int32)
    )
    regions = json.loads(gzip.decompress(sheet.packed))["regions"]
    assert [(one["name"], one["notes"]) for one in regions] == [("hops", 6), ("tea", 3)]


def test_too_many_categories_share_a_colour() -> None:
    names = [f"c{number}" for number in range(40)]
    ranked = ranked_categories([*names, "c39", "c39"])
    assert (len(ranked), ranked[0], ranked[-1]) == (MOST_CATEGORIES, "c39", OTHERS)
    found = drawn([note(number, name) for number, name in enumerate(names)], np.zeros((40, 2)))
    places = list(base64.b64decode(found["category"]))
    assert places.count(MOST_CATEGORIES - 1) == 40 - MOST_CATEGORIES + 1


def test_an_empty_map_is_a_map() -> None:
    found = drawn([], np.zeros((0, 2)))
    assert (found["ids"], found["categories"], found["regions"], found["x"]) == ([], [], [], "")


def test_long_lists_are_written_in_pieces() -> None:
    notes = [note(number) for number in range(4_321)]
    found = drawn(notes, np.zeros((len(notes), 2)))
    assert (found["ids"], found["titles"]) == ([one.id for one in notes], [one.title for one in notes])
