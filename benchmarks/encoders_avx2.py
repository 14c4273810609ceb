"""Section `encoders_avx2`: that of `encoders` again with the instructions of an older processor.

torch, MKL and oneDNN are told to leave AVX-512 alone; where a processor has only AVX2, it is the same section once more.
"""

from pathlib import Path
from typing import Any

from benchmarks import encoders
from benchmarks.measure import Content

TITLE = "Embedding: notes a second against the peers, with AVX2 only"
ENVIRONMENT = {"MKL_ENABLE_INSTRUCTIONS": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


def measure(checkpoint: Path, *, quick: bool) -> Content:
    """See `benchmarks.speed.Section`."""
    return encoders.measure(checkpoint, quick=quick)


def markdown(content: Content) -> str:
    """See `benchmarks.speed.Section`."""
    said = " ".join(f"`{name}={value}`" for name, value in ENVIRONMENT.items())
    return f"With {said}. vLLM's own kernels ignore these variables; its matrix products follow them.\n\n{encoders.markdown(content)}"


def figures(content: Content) -> dict[str, Any]:
    """See `benchmarks.speed.Section`."""
    return {"embedding-avx2": encoders.figures(content)["embedding"]}
