"""`Sheet`: a drawn map, as the page loads it."""

import base64
import gzip
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from service.note_map.reading import MapNotes
from service.note_map.regions import name_regions
from service.notes import vector_to_base64

MOST_CATEGORIES = 24
"""More have no colours that a person can tell apart: the others share the last one."""
OTHERS, NONE = "other categories", "no category"
_COMPRESSION = 5
_SLICE = 2_000


@dataclass(frozen=True)
class Sheet:
    """A drawn map.

    Attributes:
        vector_name: names the model of the vectors.
        counted: how many notes the index said to hold when it was drawn.
        total: how many of them had a vector.
        shown: how many of them the map shows.
        drawn_at: when it was drawn, in ISO 8601.
        packed: the points as gzipped JSON: `ids` and `titles`; `x`, `y` (little-endian float32) and `category` (uint8, a place in
            `categories`) in base64; and `regions` with their names.
    """

    vector_name: str
    counted: int
    total: int
    shown: int
    drawn_at: str
    packed: bytes

    @classmethod
    def draw(cls, read: MapNotes, positions: npt.NDArray[np.float32], regions: npt.NDArray[np.int32]) -> "Sheet":
        """Makes the map of notes that have been placed.

        Args:
            read: the notes.
            positions: (notes, 2).
            regions: (notes,), the number of each note's region.
        """
        names = ranked_categories([note.category for note in read.notes])
        place = {name: number for number, name in enumerate(names)}
        words = [note.hashtags or ((note.category,) if note.category else ()) for note in read.notes]
        categories = np.array([place.get(note.category or NONE, len(names) - 1) for note in read.notes], dtype=np.uint8)
        parts = {
            "vector_name": [json.dumps(read.vector_name)],
            "ids": _listed([note.id for note in read.notes]),
            "titles": _listed([note.title for note in read.notes]),
            "x": [json.dumps(vector_to_base64(positions[:, 0]))],
            "y": [json.dumps(vector_to_base64(positions[:, 1]))],
            "category": [json.dumps(base64.b64encode(categories.tobytes()).decode("ascii"))],
            "categories": [json.dumps(names)],
            "regions": [json.dumps([vars(region) for region in name_regions(positions, regions, words)])],
        }
        text = "{" + ",".join(f'"{name}":' + "".join(part) for name, part in parts.items()) + "}"
        drawn_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        return cls(
            read.vector_name,
            read.counted,
            read.total,
            len(read.notes),
            drawn_at,
            gzip.compress(text.encode(), _COMPRESSION, mtime=0),
        )


def _listed(texts: Sequence[str]) -> list[str]:
    """A JSON list in pieces: a call of `json.dumps` for a hundred thousand texts would keep every other thread waiting."""
    slices = [texts[start : start + _SLICE] for start in range(0, len(texts), _SLICE)]
    return ["[", ",".join(json.dumps(one, ensure_ascii=False)[1:-1] for one in slices), "]"]


def ranked_categories(categories: Sequence[str]) -> list[str]:
    """Returns the names that have a colour, the most frequent ones first; the last one stands for all others if there are too many."""
    counted = [name for name, _ in Counter(name or NONE for name in categories).most_common()]
    return counted if len(counted) <= MOST_CATEGORIES else [*counted[: MOST_CATEGORIES - 1], OTHERS]
