"""bfloat16 only where the hardware multiplies it."""

import logging
from typing import Literal

import pytest
import torch

from training.precision import native_bfloat16, on_this_machine


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [({"avx512_bf16": True}, "bfloat16"), ({"amx_bf16": True}, "bfloat16"), ({"avx512_f": True}, "float32")],
)
def test_a_processor_without_the_instructions_computes_in_float32(
    capabilities: dict[str, bool], expected: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    with caplog.at_level(logging.INFO):
        assert on_this_machine("auto") == expected
    assert "the processor has" in caplog.text


def test_this_machine_gives_a_reason() -> None:
    native, why = native_bfloat16()
    assert native == (on_this_machine("auto") == "bfloat16")
    assert "bfloat16" in why or "bf16" in why


@pytest.mark.parametrize("asked", ["float32", "bfloat16"])
def test_what_is_asked_for_is_taken(asked: Literal["float32", "bfloat16"]) -> None:
    assert on_this_machine(asked) == asked
