"""Which engine `auto` chooses."""

from collections.abc import Callable

import pytest
import torch

from notellm import Checkpoint
from service.engines import opening, vllm_process
from service.errors import StartupError
from service.settings import Settings


@pytest.mark.parametrize(
    ("release", "int8", "gpu", "suits"),
    [
        ("0.32.1", False, True, True), ("0.32.1", False, False, False), ("0.32.1", True, True, False),
        ("0.99.0", False, True, False), (None, False, True, False),
    ],
)  # fmt: skip
def test_vllm_is_taken_on_a_gpu_where_a_tested_release_is_installed(
    release: str | None, int8: bool, gpu: bool, suits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_process, "installed_release", lambda: release)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    settings = Settings.model_validate({"checkpoint": "x", "embedding_int8": int8})
    assert settings.engine == "auto"
    assert opening._vllm_suits(settings) is suits


async def test_where_vllm_does_not_start_the_local_engine_is_taken(
    settings_for: Callable[..., Settings], tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def refuse(*_: object) -> None:
        raise StartupError("vLLM does not start: no kernel")

    monkeypatch.setattr(opening, "_open_vllm", refuse)
    monkeypatch.setattr(opening, "_vllm_suits", lambda _: True)
    engine = await opening.open_engine(settings_for(engine="auto"), tiny, tiny.prompt())
    assert engine.name == "local"
    assert "using the local engine: vLLM does not start: no kernel" in caplog.text
    await engine.close()
    with pytest.raises(StartupError, match="no kernel"):
        await opening.open_engine(settings_for(engine="vllm"), tiny, tiny.prompt())


def test_the_release_is_that_of_the_package() -> None:
    release = vllm_process.installed_release()
    assert release is None or release[0].isdigit()
