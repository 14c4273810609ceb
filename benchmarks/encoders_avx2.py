"""Section `encoders_avx2`: the section `encoders` with the instructions of an older processor.

torch, MKL and oneDNN are configured not to use AVX-512. On a processor that has only AVX2, this repeats the section `encoders`.
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
