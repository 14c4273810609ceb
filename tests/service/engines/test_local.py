"""The local engine's choice between float32 and int8."""

import logging
from typing import Any

import numpy as np
import pytest

from notellm import Checkpoint, NoteEncoder, NoteLLM
from service.engines import LocalEngine, local
from service.errors import StartupError
from service.settings import load_settings
from tests.conftest import NOTES


@pytest.mark.parametrize(("gain", "said"), [(1.5, "embedding in int8"), (0.9, "int8 is slower than float32 on this processor")])
def test_it_embeds_in_int8_where_that_is_faster(
    gain: float, said: str, tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(local, "times_faster", lambda run, than: (run(), than(), gain)[-1])
    prompt = tiny.prompt()
    prompts = [prompt.embedding(note) for note in prompt.tokenize(NOTES)]
    exact = LocalEngine(tiny, prompt, max_batch_tokens=2048, threads=1).embed(prompts)
    with caplog.at_level(logging.INFO):
        found = LocalEngine(tiny, prompt, max_batch_tokens=2048, threads=1, int8=True).embed(prompts)
    assert said in caplog.text
    cosines = (exact * found).sum(1)
    assert cosines.min() >= 0.99
    assert (cosines.min() < 1 - 1e-6) == (gain > 1)


def test_layers_that_cannot_be_rounded_stay_in_float32(
    tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: NoteLLM) -> None:
        raise TypeError("cannot round this Linear layer to int8: only an nn.Linear without a bias can be rounded")

    monkeypatch.setattr(local, "Int8NoteLLM", refuse)
    prompt = tiny.prompt()
    engine = LocalEngine(tiny, prompt, max_batch_tokens=2048, threads=1, int8=True)
    assert "embedding stays in float32: cannot round this Linear layer" in caplog.text
    assert np.isfinite(engine.embed([prompt.embedding(prompt.tokenize(NOTES)[0])])).all()


@pytest.mark.parametrize(
    ("attribute", "value", "said"),
    [
        ("packed", False, "int8 needs the packed forward pass"),
        ("encode", None, "rounding to int8 changes the vectors too much"),
    ],
)
def test_int8_is_left_alone_where_it_would_be_another_model(
    attribute: str,
    value: object,
    said: str,
    tiny: Checkpoint,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The model does not use the packed forward pass, or rounding ruins the vectors."""
    prompt = tiny.prompt()
    engine = LocalEngine(tiny, prompt, max_batch_tokens=2048, threads=1)
    exact = engine._encoder
    if attribute == "packed":
        monkeypatch.setattr(NoteEncoder, "packed", property(lambda _: value))
    else:
        encode = NoteEncoder.encode

        def ruined(encoder: NoteEncoder, prompts: list[list[int]]) -> Any:
            vectors = encode(encoder, prompts)
            return vectors if encoder is exact else -vectors

        monkeypatch.setattr(NoteEncoder, "encode", ruined)
    assert engine._fastest_encoder(prompt, 2048) is exact
    assert said in caplog.text


def test_int8_is_not_for_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"CHECKPOINT": "x", "ENGINE": "vllm", "EMBEDDING_INT8": "true"}.items():
        monkeypatch.setenv(f"NOTELLM_{name}", value)
    with pytest.raises(StartupError, match="NOTELLM_EMBEDDING_INT8 is set with NOTELLM_ENGINE=vllm"):
        load_settings()
