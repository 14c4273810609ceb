"""The settings of the model. `test_settings.py` tests the rules between settings."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings.served_model import ModelSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threads", 0),
        ("engine", "tensorrt"),
        ("vllm_stall_seconds", 0),
        ("vllm_tensor_parallel", 65),
        ("remote_timeout_seconds", 3601),
        ("verify_checkpoint", "md5"),
    ],
)
def test_a_wrong_value_is_named(name: str, value: object) -> None:
    with pytest.raises(ValidationError) as raised:
        ModelSettings.model_validate({"checkpoint": "/c", name: value})
    assert [error["loc"] for error in raised.value.errors()] == [(name,)]


def test_by_default_the_engine_is_found_out_and_the_checkpoint_is_read_whole() -> None:
    settings = ModelSettings(checkpoint=Path("/c"))
    assert (settings.engine, settings.verify_checkpoint, settings.threads, settings.embedding_int8) == (
        "auto",
        "sha256",
        None,
        False,
    )
