"""`MapProcess`: runs the layout of a map in a process of its own."""

import asyncio
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

logger = logging.getLogger(__name__)
Floats = npt.NDArray[np.float32]
_MOST_OUTPUT = 5_000
MISSING = "the map needs the package umap-learn: pip install 'notellm[map]'"


class MapFailed(Exception):
    """The map cannot be drawn; the message says why."""


class MapProcess:
    """Places vectors in the plane, with one core and low priority."""

    async def place(self, vectors: Floats, report: Callable[[float], None]) -> tuple[Floats, npt.NDArray[np.int32]]:
        """Returns positions (n, 2) and the numbers of regions (n,).

        Args:
            vectors: (n, dimensions), each of length 1.
            report: called with the share that is done.

        Raises:
            MapFailed: a package is missing, or the process failed.
        """
        if find_spec("umap") is None:
            raise MapFailed(MISSING)
        with tempfile.TemporaryDirectory(prefix="notellm-map-") as folder:
            source, target = Path(folder) / "vectors.npy", Path(folder) / "places.npz"
            try:
                await asyncio.to_thread(np.save, source, vectors)
            except OSError as error:
                needed = vectors.nbytes // 2**20
                raise MapFailed(f"{folder} has no room for the vectors, {needed} MiB: {error.strerror or error}") from error
            await self._run(source, target, report)
            return await asyncio.to_thread(_read, target)

    async def _run(self, source: Path, target: Path, report: Callable[[float], None]) -> None:
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "service.note_map.layout", source, target,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the service
            # Compiled code is kept where nobody else can write, and only for this run.
            env={**os.environ, **limits, "NUMBA_CACHE_DIR": str(source.parent)},
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            said = asyncio.create_task(process.stderr.read())
            async for line in process.stdout:
                with suppress(ValueError):
                    report(float(line))
            output = (await said).decode(errors="replace")
            if await process.wait():
                logger.warning(
                    "the map's process failed", extra={"status": process.returncode, "output": output[-_MOST_OUTPUT:]}
                )
                reason = output.strip().rpartition("\n")[2] or f"it ended with {process.returncode}"
                raise MapFailed(f"the map's process failed: {reason}")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def _read(path: Path) -> tuple[Floats, npt.NDArray[np.int32]]:
    with np.load(path) as places:
        return places["positions"], places["regions"]
