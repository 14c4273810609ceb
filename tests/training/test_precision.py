"""bfloat16 only where the hardware multiplies it."""

import logging

import pytest
import torch

from training.precision import compute_dtype, native_bfloat16


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [({"avx512_bf16": True}, torch.bfloat16), ({"amx_bf16": True}, torch.bfloat16), ({"avx512_f": True}, torch.float32)],
)
def test_a_processor_without_the_instructions_computes_in_float32(
    capabilities: dict[str, bool], expected: torch.dtype, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    with caplog.at_level(logging.INFO):
        assert compute_dtype("auto") == expected
    assert "the processor has" in caplog.text


def test_this_machine_gives_a_reason() -> None:
    native, why = native_bfloat16()
    assert native == (compute_dtype("auto") == torch.bfloat16)
    assert "bfloat16" in why or "bf16" in why


@pytest.mark.parametrize(("asked", "expected"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_what_is_asked_for_is_taken(asked: str, expected: torch.dtype) -> None:
    assert compute_dtype(asked) == expected  # type: ignore[arg-type]
