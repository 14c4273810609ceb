"""Places vectors in the plane: principal components, then UMAP (McInnes, Healy and Melville, arXiv 1802.03426).

A program of its own, `python -m service.note_map.layout VECTORS.npy PLACES.npz`, so that its memory goes back to the system and the
service answers requests meanwhile. It prints the share of its work that is done, 0 to 1, one number a line.
"""

import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
COMPONENTS = 50
"""UMAP's search for neighbours is several times as fast as with all dimensions, and the neighbours are nearly the same."""
NEIGHBOURS = 15  # umap-learn's own default
SPACE = 0.5
"""UMAP's `min_dist`: points of a topic lie apart, so that a person can point at one of them."""
FEWEST_FOR_UMAP = 10
NOTES_PER_REGION = 60
MOST_REGIONS = 40
# A small map is divided more finely.
FEWEST_IN_REGION, FEW_REGIONS = 10, 6
_COMPONENTS_DONE, _NEIGHBOURS_DONE = 0.05, 0.4  # of the whole time, roughly
_NICENESS = 10


def place(vectors: Floats, report: Callable[[float], None] = lambda _: None) -> Floats:
    """Returns a position for each vector. The same vectors get the same positions.

    Args:
        vectors: (n, dimensions), each of length 1.
        report: called with the share that is done.

    Returns:
        (n, 2), centred; the farthest coordinate is 1.
    """
    if len(vectors) < FEWEST_FOR_UMAP:
        return _scaled(principal_components(vectors, 2))
    reduced = principal_components(vectors, COMPONENTS)
    report(_COMPONENTS_DONE)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):  # umap-learn prints messages
        warnings.simplefilter("ignore")  # that a fixed seed allows one thread only
        import umap  # noqa: PLC0415 - slow to import

        model = umap.UMAP(
            n_neighbors=min(NEIGHBOURS, len(vectors) - 1), min_dist=SPACE, init="pca", random_state=0, n_jobs=1, verbose=True,
            tqdm_kwds={"file": _Epochs(report), "bar_format": "{n_fmt}/{total_fmt} ", "mininterval": 0.2},
        )  # fmt: skip
        return _scaled(np.asarray(model.fit_transform(reduced), dtype=np.float32))


def principal_components(vectors: Floats, count: int) -> Floats:
    """Returns the coordinates along the directions of the largest variance, (n, count), with zeros where there are fewer directions."""
    if not len(vectors):
        return np.zeros((0, count), dtype=np.float32)
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    values, directions = np.linalg.eigh(centred.T @ centred)
    leading = directions[:, np.argsort(values)[::-1][:count]]
    # An eigenvector's sign is arbitrary: with its largest component positive, the same notes give the same map on any machine.
    leading *= np.sign(leading[np.abs(leading).argmax(axis=0), np.arange(leading.shape[1])])
    placed = centred @ leading
    return np.pad(placed, ((0, 0), (0, count - placed.shape[1]))).astype(np.float32)


def divide(positions: Floats) -> npt.NDArray[np.int32]:
    """Returns the number of the region of each position, (n,); a region has about sixty notes, or more on a large map."""
    count = min(MOST_REGIONS, max(len(positions) // NOTES_PER_REGION, min(len(positions) // FEWEST_IN_REGION, FEW_REGIONS)))
    if count < 2:  # noqa: PLR2004
        return np.zeros(len(positions), dtype=np.int32)
    from sklearn.cluster import KMeans  # noqa: PLC0415 - slow to import

    regions: npt.NDArray[np.int32] = KMeans(count, n_init=1, random_state=0).fit_predict(positions).astype(np.int32)
    return regions


def _scaled(positions: Floats) -> Floats:
    if not len(positions):
        return positions
    centred = positions - positions.mean(axis=0)
    scaled: Floats = centred / max(float(np.abs(centred).max()), 1e-9)
    return scaled


class _Epochs:
    """Reads UMAP's progress bar as it is written."""

    def __init__(self, report: Callable[[float], None]) -> None:
        self._report = report

    def write(self, text: str) -> None:
        """Reads `12/200`."""
        if found := re.search(r"(\d+)/(\d+)", text):
            share = int(found[1]) / max(int(found[2]), 1)
            self._report(_NEIGHBOURS_DONE + (1 - _NEIGHBOURS_DONE) * share)

    def flush(self) -> None:
        """Called by tqdm."""


def _print(share: float) -> None:
    os.write(1, f"{share:.4f}\n".encode())


def main(arguments: Sequence[str]) -> None:
    """Runs the program."""
    source, target = arguments
    os.nice(_NICENESS)  # requests come first
    with suppress(OSError):  # and if memory runs out, the map goes, not the service
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    positions = place(np.load(source), _print)
    np.savez(target, positions=positions, regions=divide(positions))


if __name__ == "__main__":
    main(sys.argv[1:])
