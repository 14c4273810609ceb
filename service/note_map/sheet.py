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


@dataclass(frozen=True)
class Sheet:
    """A drawn map.

    Attributes:
        vector_name: names the model of the vectors.
        total: how many notes the index held when it was drawn.
        shown: how many of them the map shows.
        drawn_at: when it was drawn, in ISO 8601.
        packed: the points as gzipped JSON: `ids` and `titles`; `x`, `y` (little-endian float32) and `category` (uint8, a place in
            `categories`) in base64; and `regions` with their names.
    """

    vector_name: str
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
        document = {
            "vector_name": read.vector_name,
            "ids": [note.id for note in read.notes],
            "titles": [note.title for note in read.notes],
            "x": vector_to_base64(positions[:, 0]),
            "y": vector_to_base64(positions[:, 1]),
            "category": base64.b64encode(categories.tobytes()).decode("ascii"),
            "categories": names,
            "regions": [vars(region) for region in name_regions(positions, regions, words)],
        }
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        drawn_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        return cls(read.vector_name, read.total, len(read.notes), drawn_at, gzip.compress(text, _COMPRESSION, mtime=0))


def ranked_categories(categories: Sequence[str]) -> list[str]:
    """Returns the names that have a colour, the most frequent ones first; the last one stands for all others if there are too many."""
    counted = [name for name, _ in Counter(name or NONE for name in categories).most_common()]
    return counted if len(counted) <= MOST_CATEGORIES else [*counted[: MOST_CATEGORIES - 1], OTHERS]
