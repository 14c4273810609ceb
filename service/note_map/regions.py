"""Names the regions of a map by the hashtags, or categories, that are frequent there and rare elsewhere."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FEWEST_NOTES = 3
"""A word that fewer notes of a region have does not name it."""


@dataclass(frozen=True)
class Region:
    """A named part of the map.

    Attributes:
        x, y: its middle.
        name: a hashtag, or a category.
        notes: how many notes lie in it.
    """

    x: float
    y: float
    name: str
    notes: int


def name_regions(
    positions: npt.NDArray[np.float32], regions: npt.NDArray[np.int32], words: Sequence[Sequence[str]]
) -> list[Region]:
    """Returns the regions that have a name, the largest ones first. Of two with the same name only the larger one keeps it.

    Args:
        positions: (notes, 2).
        regions: (notes,), the number of each note's region.
        words: those of each note: its hashtags, or its category if it has none.
    """
    everywhere = Counter(word for own in words for word in set(own))
    sizes = np.bincount(regions)
    found: dict[str, Region] = {}
    for region in np.argsort(-sizes, kind="stable"):
        inside = np.flatnonzero(regions == region)
        name = _name(Counter(word for note in inside for word in set(words[note])), everywhere, len(inside), len(positions))
        if name is not None and name not in found:
            x, y = positions[inside].mean(axis=0)
            found[name] = Region(float(x), float(y), name, len(inside))
    return list(found.values())


def _name(inside: Counter[str], everywhere: Counter[str], size: int, total: int) -> str | None:
    """The word with the largest n · log(share inside / share everywhere), which is its part of what a region tells about words."""
    rated = [
        (count * math.log((count / size) / (everywhere[word] / total)), word)
        for word, count in inside.items()
        if count >= FEWEST_NOTES
    ]
    best = max(rated, default=(0.0, ""))
    return best[1] if best[0] > 0 else None
