"""The precision of matrix products. A processor without bfloat16 instructions is a hundred times slower in bfloat16."""

import logging
from typing import Literal

import torch

logger = logging.getLogger(__name__)
Precision = Literal["auto", "float32", "bfloat16"]


def on_this_machine(precision: Precision) -> Literal["float32", "bfloat16"]:
    """Resolves `auto`: bfloat16 if the hardware has instructions for it, else float32. Other values are returned as they are."""
    if precision != "auto":
        return precision
    native, why = native_bfloat16()
    chosen: Literal["float32", "bfloat16"] = "bfloat16" if native else "float32"
    logger.info("precision %s: %s", chosen, why)
    return chosen


def native_bfloat16() -> tuple[bool, str]:
    """Whether the device that trains has bfloat16 instructions, and the reason in words."""
    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return native, f"{torch.cuda.get_device_name()} {'multiplies' if native else 'emulates'} bfloat16"
    found = [name for name in ("avx512_bf16", "amx_bf16") if torch.cpu.get_capabilities().get(name)]
    return bool(found), f"the processor has {found[0]}" if found else "the processor has neither avx512_bf16 nor amx_bf16"
