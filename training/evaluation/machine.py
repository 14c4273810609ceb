"""The machine that a throughput was measured on, in words."""

import platform
from pathlib import Path

import torch

_CPU_FACTS = Path("/proc/cpuinfo")


def machine_note(device: str, dtype: str) -> str:
    """Processor, threads or GPU, and dtype: `AMD EPYC 7763 64-Core Processor, 2 threads, float32`."""
    if device.startswith("cuda"):
        return f"{torch.cuda.get_device_name(device)}, {dtype}"
    return f"{_processor()}, {torch.get_num_threads()} threads, {dtype}"


def _processor() -> str:
    facts = _CPU_FACTS.read_text(encoding="utf-8") if _CPU_FACTS.exists() else ""
    names = [line.partition(":")[2].strip() for line in facts.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
