"""Which engine `auto` is."""

import pytest

from service import opening
from service.engines import vllm_process
from service.settings import Settings


@pytest.mark.parametrize(
    ("release", "int8", "suits"),
    [("0.32.1", False, True), ("0.32.1", True, False), ("0.99.0", False, False), (None, False, False)],
)
def test_vllm_is_taken_where_a_tested_release_is_installed(
    release: str | None, int8: bool, suits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_process, "installed_release", lambda: release)
    settings = Settings.model_validate({"checkpoint": "x", "embedding_int8": int8})
    assert settings.engine == "auto"
    assert opening._vllm_suits(settings) is suits


def test_the_release_is_that_of_the_package() -> None:
    release = vllm_process.installed_release()
    assert release is None or release[0].isdigit()
