"""Settings of the engine and its queues that do not fit together."""

from pathlib import Path

import pytest

from service.settings import Settings
from service.settings.engine import check_engine


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"engine": "remote", "remote_url": "http://vllm:8000"},
        {"engine": "auto", "remote_url": "http://vllm:8000"},
        {"engine": "local", "embedding_int8": True},
        {"max_queue_tokens": 1024, "max_batch_tokens": 1024},
    ],
)
def test_what_fits_together(changes: dict[str, object]) -> None:
    check_engine(Settings.model_validate({"checkpoint": Path("/c")} | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"engine": "remote"}, "NOTELLM_REMOTE_URL go together"),
        ({"engine": "local", "remote_url": "http://vllm:8000"}, "NOTELLM_REMOTE_URL go together"),
        ({"engine": "vllm", "embedding_int8": True}, "drop one"),
        ({"max_queue_tokens": 1023, "max_batch_tokens": 1024}, "no batch could ever fill up"),
    ],
)
def test_what_does_not(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings.model_validate({"checkpoint": Path("/c")} | changes)
